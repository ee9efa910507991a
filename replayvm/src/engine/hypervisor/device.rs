//! `/dev/kvm`: opening it, and what may be in the way. Each trouble is a sentence that says what it is and what to do.

use std::ffi::CStr;

use kvm_ioctls::Kvm;

use super::Unusable;

const DEVICE: &CStr = c"/dev/kvm";
/// The one version that there has ever been since Linux 2.6.22.
const API_VERSION: i32 = 12;

/// Opens `/dev/kvm`.
pub(crate) fn open() -> Result<Kvm, Unusable> {
    open_at(DEVICE)
}

fn open_at(path: &CStr) -> Result<Kvm, Unusable> {
    let kvm = Kvm::new_with_path(path).map_err(|error| cannot_open(path, error.errno()))?;
    match kvm.get_api_version() {
        API_VERSION => Ok(kvm),
        version => Err(wrong_version(path, version)),
    }
}

fn cannot_open(path: &CStr, errno: i32) -> Unusable {
    let path = path.to_string_lossy();
    Unusable(match errno {
        libc::ENOENT => format!(
            "{path} does not exist: load the kvm module, switch virtualisation on in the firmware, or pass the device into \
             this container"
        ),
        libc::EACCES | libc::EPERM => format!(
            "{path} may not be opened by this user: join the group `kvm`, run as root, or let the sandbox pass it"
        ),
        libc::EBUSY => format!("{path} is busy: another hypervisor holds the processor; stop it first"),
        libc::ENODEV | libc::ENXIO => {
            format!("{path} has no driver behind it: load kvm_intel, kvm_amd or kvm_pvm")
        }
        libc::EISDIR | libc::ENOTDIR | libc::ELOOP | libc::EROFS => {
            format!("{path} is no device ({}): mount a proper /dev", text(errno))
        }
        libc::EMFILE | libc::ENFILE => {
            format!("{path} cannot be opened, for too many files are open: raise the limit (`ulimit -n`)")
        }
        libc::ENOMEM => format!("{path} cannot be opened, for memory is short: free some"),
        _ => format!("{path} cannot be opened ({}): use engine `soft`", text(errno)),
    })
}

/// A negative version is no answer at all.
fn wrong_version(path: &CStr, version: i32) -> Unusable {
    let path = path.to_string_lossy();
    Unusable(if version < 0 {
        format!("{path} is not the device of KVM: have udev make it anew, or mount a proper /dev")
    } else {
        format!(
            "{path} has version {version} of KVM's interface where {API_VERSION} is needed: use a newer kernel"
        )
    })
}

/// KVM has refused a request: to do what, and with which error.
pub(crate) fn refusal(what: &str, error: kvm_ioctls::Error) -> Unusable {
    let advice = match error.errno() {
        libc::EBUSY => "another hypervisor holds the processor; stop it first",
        libc::ENOMEM => "memory is short; free some, or give the guest less",
        libc::EMFILE | libc::ENFILE => "too many files are open; raise the limit (`ulimit -n`)",
        libc::EACCES | libc::EPERM => "a sandbox or a security module forbids it",
        libc::EOPNOTSUPP | libc::EIO => {
            "virtualisation is switched off in the firmware, or another hypervisor holds the processor"
        }
        libc::ENOTTY | libc::ENOSYS | libc::EINVAL | libc::ENXIO => {
            "this kernel's KVM does not have it; use a newer kernel, or engine `soft`"
        }
        _ => "use engine `soft`",
    };
    Unusable(format!("KVM refuses to {what} ({}): {advice}", text(error.errno())))
}

fn text(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;

    fn opened(path: &Path) -> String {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        match open_at(&path) {
            Ok(_) => "it opens".to_owned(),
            Err(Unusable(why)) => why,
        }
    }

    #[test]
    fn what_is_not_the_device_is_told_from_what_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvm");
        let at = path.display();
        assert!(opened(&path).starts_with(&format!("{at} does not exist: load the kvm module")));
        fs::write(&path, "no device").unwrap();
        let not_kvm =
            format!("{at} is not the device of KVM: have udev make it anew, or mount a proper /dev");
        assert_eq!(opened(&path), not_kvm);
        assert!(opened(&path.join("below")).contains("is no device (Not a directory"));
        assert!(opened(folder.path()).contains("is no device (Is a directory"));
        assert!(opened(Path::new("/dev/null")).starts_with("/dev/null is not the device of KVM"));
        let looping = folder.path().join("loop");
        std::os::unix::fs::symlink(&looping, &looping).unwrap();
        assert!(opened(&looping).contains("is no device (Too many levels of symbolic links"));
        let socket = folder.path().join("socket");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(opened(&socket).contains("has no driver behind it"), "{}", opened(&socket));
    }

    #[test]
    fn every_error_of_opening_says_what_to_do() {
        let why = |errno| cannot_open(DEVICE, errno).0;
        for (errnos, words, advice) in [
            (&[libc::ENOENT][..], "does not exist", "load the kvm module"),
            (&[libc::EACCES, libc::EPERM], "may not be opened by this user", "join the group `kvm`"),
            (&[libc::EBUSY], "is busy", "stop it first"),
            (&[libc::ENODEV, libc::ENXIO], "has no driver behind it", "load kvm_intel"),
            (&[libc::EMFILE, libc::ENFILE], "too many files are open", "ulimit -n"),
            (&[libc::ENOMEM], "memory is short", "free some"),
            (&[libc::EOVERFLOW], "cannot be opened (Value too large", "use engine `soft`"),
        ] {
            for errno in errnos {
                let why = why(*errno);
                assert!(why.starts_with("/dev/kvm ") && why.contains(words) && why.contains(advice), "{why}");
            }
        }
        let Unusable(why) = wrong_version(DEVICE, 11);
        assert_eq!(why, "/dev/kvm has version 11 of KVM's interface where 12 is needed: use a newer kernel");
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        for (errno, words) in [
            (libc::EBUSY, "another hypervisor holds the processor; stop it first"),
            (libc::ENOMEM, "memory is short"),
            (libc::EMFILE, "ulimit -n"),
            (libc::EPERM, "a sandbox or a security module forbids it"),
            (libc::EOPNOTSUPP, "virtualisation is switched off in the firmware"),
            (libc::ENOTTY, "use a newer kernel"),
            (libc::EFAULT, "use engine `soft`"),
        ] {
            let Unusable(why) = refusal("create a virtual machine", kvm_ioctls::Error::new(errno));
            assert!(
                why.starts_with("KVM refuses to create a virtual machine (") && why.contains(words),
                "{why}"
            );
        }
    }
}
