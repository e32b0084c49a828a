//! What a tree is made from: told by what is in a file, and not by what it is called.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::TreeError;

/// As much of a file as it takes to tell what it is.
const HEAD: usize = 0x10048;

/// A kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory to copy.
    Directory,
    /// An archive for tar(1), compressed or not.
    Archive,
    /// A disk image or file system image to copy.
    Image,
}

/// Bytes by which a format is known, and where they stand.
const MAGIC: &[(Source, usize, &[u8])] = &[
    (Source::Archive, 257, b"ustar"),
    (Source::Archive, 0, b"\x1f\x8b"),
    (Source::Archive, 0, b"\xfd7zXZ\0"),
    (Source::Archive, 0, b"BZh"),
    (Source::Archive, 0, b"\x28\xb5\x2f\xfd"),
    (Source::Archive, 0, b"\x04\x22\x4d\x18"),
    (Source::Image, 0, b"hsqs"),
    (Source::Image, 1024, b"\xe2\xe1\xf5\xe0"),
    (Source::Image, 1080, b"\x53\xef"),
    (Source::Image, 0, b"XFSB"),
    (Source::Image, 0x10040, b"_BHRfS_M"),
    (Source::Image, 510, b"\x55\xaa"),
];

impl Source {
    /// What is at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or nothing can be made from it.
    pub fn of(path: &Path) -> Result<Source, TreeError> {
        let fail = |error| TreeError::file(path, error);
        let metadata = fs::metadata(path).map_err(fail)?;
        if metadata.is_dir() {
            return Ok(Source::Directory);
        }
        let unfit = |why| TreeError::Unfit {
            path: path.to_owned(),
            why,
        };
        if !metadata.is_file() {
            return Err(unfit("neither a directory nor a regular file"));
        }
        let mut head = Vec::with_capacity(HEAD);
        let file = File::open(path).map_err(fail)?;
        file.take(HEAD as u64)
            .read_to_end(&mut head)
            .map_err(fail)?;
        if head
            .get(257..)
            .is_some_and(|rest| rest.starts_with(b"ustar"))
            && !ends_well(path).map_err(fail)?
        {
            return Err(unfit("the archive is cut off: it has no end mark"));
        }
        let by_name = || {
            path.extension()
                .and_then(|extension| by_name(extension.to_str()?))
        };
        by_content(&head)
            .or_else(by_name)
            .ok_or_else(|| unfit("neither an archive nor an image that is known"))
    }
}

fn by_content(head: &[u8]) -> Option<Source> {
    let has = |(_, at, magic): &&(Source, usize, &[u8])| {
        head.get(*at..).is_some_and(|rest| rest.starts_with(magic))
    };
    MAGIC.iter().find(has).map(|(source, _, _)| *source)
}

/// Whether a plain archive ends as tar(5) wants it, with two blocks of zeros. tar(1) takes one that ends between two members
/// for whole; compressed ones have checksums.
fn ends_well(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut end = [1; 1024];
    // Shorter than that it is cut off as well.
    if file.metadata()?.len() < end.len() as u64 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1024))?;
    file.read_exact(&mut end)?;
    Ok(end.iter().all(|byte| *byte == 0))
}

/// Formats without a mark of their own: old tar archives and raw file systems of other kinds.
fn by_name(extension: &str) -> Option<Source> {
    match extension {
        "tar" => Some(Source::Archive),
        "raw" | "img" => Some(Source::Image),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let at = |offset: usize, magic: &[u8]| {
            let mut head = vec![0; offset];
            head.extend_from_slice(magic);
            head
        };
        assert_eq!(by_content(&at(257, b"ustar\0")), Some(Source::Archive));
        assert_eq!(by_content(b"\x1f\x8b\x08"), Some(Source::Archive));
        assert_eq!(by_content(&at(1080, b"\x53\xef")), Some(Source::Image));
        assert_eq!(by_content(&at(510, b"\x55\xaa")), Some(Source::Image));
        assert_eq!(by_content(b"\x7fELF"), None);
        assert_eq!(by_content(b""), None);
        assert_eq!(by_name("img"), Some(Source::Image));
        assert_eq!(by_name("txt"), None);
    }
}
