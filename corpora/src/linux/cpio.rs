//! Archives in the format that the kernel unpacks as its first file system: cpio "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst). Only what an archive needs to be the same
//! every time: no times, no owners but root, inodes in order.

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Directory { permissions: u32 },
    File { permissions: u32, bytes: Vec<u8> },
    Link { target: String },
    CharacterDevice { permissions: u32, major: u32, minor: u32 },
}

/// An archive of these nodes; a folder must come before what lies in it. The paths have no `/` at either end.
pub(super) fn archive<'a>(nodes: impl IntoIterator<Item = (&'a str, &'a Node)>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut inode = 0;
    for (path, node) in nodes {
        inode += 1;
        let (mode, data, device): (u32, &[u8], _) = match node {
            Node::Directory { permissions } => (0o040_000 | permissions, &[], (0, 0)),
            Node::File { permissions, bytes } => (0o100_000 | permissions, bytes, (0, 0)),
            Node::Link { target } => (0o120_777, target.as_bytes(), (0, 0)),
            Node::CharacterDevice { permissions, major, minor } => {
                (0o020_000 | permissions, &[], (*major, *minor))
            }
        };
        entry(&mut out, inode, mode, path, data, device);
    }
    entry(&mut out, 0, 0, "TRAILER!!!", &[], (0, 0));
    out
}

fn entry(out: &mut Vec<u8>, inode: u32, mode: u32, path: &str, data: &[u8], device: (u32, u32)) {
    let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    let size = u32::try_from(data.len()).unwrap_or(u32::MAX); // `Initramfs::file` takes nothing so large
    let fields = [
        inode,
        mode,
        0, // owner
        0, // group
        links,
        0, // time of the last change
        size,
        0, // device of the file system
        0,
        device.0,
        device.1,
        path.len() as u32 + 1,
        0, // checksum: none in this format
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    align(out);
    out.extend_from_slice(data);
    align(out);
}

fn align(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
