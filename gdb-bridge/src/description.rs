//! The target description: what gdb is told about the machine when it connects (gdb manual, "Target Descriptions").

use std::fmt::Write;
use std::sync::LazyLock;

use gdbstub::target::ext::target_description_xml_override::TargetDescriptionXmlOverride;
use gdbstub::target::{TargetError, TargetResult};

use crate::architecture::Architecture;
use crate::refusal;
use crate::registers::features;
use crate::target::ReplayTarget;

/// The one file of a description.
const ANNEX: &[u8] = b"target.xml";

impl TargetDescriptionXmlOverride for ReplayTarget<'_> {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buf: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != ANNEX {
            return Err(TargetError::Errno(refusal::NO_FILE));
        }
        if offset == 0 {
            self.shown.begin_reading(self.timeline.cpu().mode().bitness());
        }
        Ok(crate::files::part(target_xml(self.shown.now()).as_bytes(), offset, length, buf))
    }
}

/// The target description of an architecture.
#[must_use]
pub fn target_xml(architecture: Architecture) -> &'static str {
    static X86_64: LazyLock<String> = LazyLock::new(|| write_xml(Architecture::X86_64));
    static I386: LazyLock<String> = LazyLock::new(|| write_xml(Architecture::I386));
    static I8086: LazyLock<String> = LazyLock::new(|| write_xml(Architecture::I8086));
    match architecture {
        Architecture::X86_64 => &X86_64,
        Architecture::I386 => &I386,
        Architecture::I8086 => &I8086,
    }
}

/// Writes a description out of the table of registers.
fn write_xml(architecture: Architecture) -> String {
    let mut xml = format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n\
         <architecture>{}</architecture>\n",
        architecture.name(),
    );
    if architecture == Architecture::I8086 {
        // gdb knows no operating system of 16-bit code, and would complain about the one of its host.
        xml.push_str("<osabi>none</osabi>\n");
    }
    let mut number = 0;
    for feature in features(architecture) {
        let _ = writeln!(xml, "<feature name=\"{}\">", feature.name);
        xml.push_str(feature.types);
        for register in feature.registers() {
            let group = if register.kind == "int" && register.name.starts_with('f') && register.bits == 32 {
                " group=\"float\""
            } else {
                ""
            };
            let _ = writeln!(
                xml,
                "<reg name=\"{}\" bitsize=\"{}\" type=\"{}\" regnum=\"{number}\"{group}/>",
                register.name, register.bits, register.kind,
            );
            number += 1;
        }
        xml.push_str("</feature>\n");
    }
    xml.push_str("</target>\n");
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description with the features and registers that it is to have.
    fn each(check: impl Fn(&str, Architecture)) {
        for architecture in Architecture::ALL {
            check(target_xml(architecture), architecture);
        }
    }

    #[test]
    fn the_description_names_each_feature_and_register_once() {
        each(|xml, architecture| {
            for feature in features(architecture) {
                assert_eq!(xml.matches(&format!("<feature name=\"{}\">", feature.name)).count(), 1);
            }
            for register in crate::registers::all(architecture) {
                assert_eq!(
                    xml.matches(&format!("<reg name=\"{}\" ", register.name)).count(),
                    1,
                    "{}",
                    register.name
                );
            }
        });
    }

    #[test]
    fn every_element_that_is_opened_is_closed() {
        each(|xml, _| {
            for name in ["target", "feature", "flags", "union", "architecture"] {
                let opened =
                    xml.matches(&format!("<{name}>")).count() + xml.matches(&format!("<{name} ")).count();
                assert_eq!(opened, xml.matches(&format!("</{name}>")).count(), "{name}");
            }
        });
    }

    #[test]
    fn every_type_is_one_of_gdb_s_or_defined_before_its_use() {
        const KNOWN: &[&str] =
            &["int", "int32", "int64", "uint32", "uint64", "data_ptr", "code_ptr", "i387_ext"];
        for feature in Architecture::ALL.into_iter().flat_map(features) {
            for register in feature.registers() {
                let defined = feature.types.contains(&format!("id=\"{}\"", register.kind));
                assert!(KNOWN.contains(&register.kind) || defined, "{}", register.name);
            }
        }
    }
}
