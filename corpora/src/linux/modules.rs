//! Modules of the kernel and what they depend on, read from the modules themselves: `modules.dep` is made on
//! installing a kernel, and this one is only unpacked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};

use super::BuildError;

/// The modules of a kernel by name.
#[derive(Debug)]
pub(super) struct Modules(BTreeMap<String, PathBuf>);

impl Modules {
    /// Those in a folder `lib/modules/VERSION`.
    pub fn in_folder(folder: &Path) -> Result<Self, BuildError> {
        let mut found = BTreeMap::new();
        // The folder itself may be a link; those in it lead out of it.
        let mut folders = vec![folder.join("kernel")];
        while let Some(folder) = folders.pop() {
            let unreadable = |error| BuildError::Read { path: folder.clone(), error };
            for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
                if kind.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "ko")
                    && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
                {
                    found.insert(canonical(stem), path);
                }
            }
        }
        Ok(Self(found))
    }

    /// Adds a module to `order` after all that it depends on, each once: `(name, content)`.
    pub fn with_dependencies(
        &self,
        name: &str,
        order: &mut Vec<(String, Vec<u8>)>,
    ) -> Result<(), BuildError> {
        let name = canonical(name);
        if order.iter().any(|(there, _)| *there == name) {
            return Ok(());
        }
        let path = self.0.get(&name).ok_or_else(|| BuildError::NoModule(name.clone()))?;
        let content = std::fs::read(path).map_err(|error| BuildError::Read { path: path.clone(), error })?;
        let needs = depends(&content).ok_or_else(|| BuildError::NoModule(name.clone()))?;
        for needed in needs {
            // The kernel's build refuses cycles among modules.
            self.with_dependencies(&needed, order)?;
        }
        order.push((name, content));
        Ok(())
    }
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// What a module says it depends on: `depends=a,b` among the strings of its section `.modinfo`.
fn depends(content: &[u8]) -> Option<Vec<String>> {
    let file = object::File::parse(content).ok()?;
    let strings = file.section_by_name(".modinfo")?.data().ok()?;
    let names = strings.split(|byte| *byte == 0).find_map(|text| text.strip_prefix(b"depends="))?;
    let names = String::from_utf8_lossy(names);
    Some(names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}
