//! The target description: what gdb is told about the machine when it connects (gdb manual, "Target Descriptions").

use std::fmt::Write;
use std::sync::LazyLock;

use crate::registers::FEATURES;

/// The target description, written out of the table of registers.
pub static TARGET_XML: LazyLock<String> = LazyLock::new(target_xml);

fn target_xml() -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n\
         <architecture>i386:x86-64</architecture>\n",
    );
    let mut number = 0;
    for feature in FEATURES {
        let _ = writeln!(xml, "<feature name=\"{}\">", feature.name);
        xml.push_str(feature.types);
        for register in feature.registers {
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

    #[test]
    fn the_description_names_each_feature_and_register_once() {
        for feature in FEATURES {
            assert_eq!(TARGET_XML.matches(&format!("<feature name=\"{}\">", feature.name)).count(), 1);
        }
        for register in crate::registers::all() {
            assert_eq!(
                TARGET_XML.matches(&format!("<reg name=\"{}\" ", register.name)).count(),
                1,
                "{}",
                register.name
            );
        }
    }

    #[test]
    fn every_element_that_is_opened_is_closed() {
        for name in ["target", "feature", "flags", "union", "architecture"] {
            let opened = TARGET_XML.matches(&format!("<{name}>")).count()
                + TARGET_XML.matches(&format!("<{name} ")).count();
            assert_eq!(opened, TARGET_XML.matches(&format!("</{name}>")).count(), "{name}");
        }
    }

    #[test]
    fn every_type_is_one_of_gdb_s_or_defined_before_its_use() {
        const KNOWN: &[&str] =
            &["int", "int32", "int64", "uint32", "uint64", "data_ptr", "code_ptr", "i387_ext"];
        for feature in FEATURES {
            for register in feature.registers {
                let defined = feature.types.contains(&format!("id=\"{}\"", register.kind));
                assert!(KNOWN.contains(&register.kind) || defined, "{}", register.name);
            }
        }
    }
}
