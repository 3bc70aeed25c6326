//! One reader for small files that settings name: keys, certificates, configuration, credentials.
//!
//! A path may name anything. A FIFO that nobody writes to would hold its reader for ever, and a
//! device or a log file could fill the memory. So the file is opened without waiting, looked at by
//! its open handle, and read up to a limit.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _},
    path::Path,
};

/// Why a file was not read. `Display` is the rest of a sentence that names the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// There is nothing by this name.
    NotFound,
    /// This process may not read it, or may not pass a directory above it.
    PermissionDenied,
    /// It is a directory.
    Directory,
    /// It is a FIFO, a socket or a device.
    NotRegular,
    /// It has more bytes than the limit.
    TooLong,
    /// It is not UTF-8, which [`read_to_string`] asks for.
    NotText,
    /// Anything else that the system says.
    Other(ErrorKind),
}

impl FileError {
    fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Self::NotFound,
            ErrorKind::PermissionDenied => Self::PermissionDenied,
            ErrorKind::IsADirectory => Self::Directory,
            kind => Self::Other(kind),
        }
    }

    /// What is wrong. Nothing of the path or of the content is part of it.
    pub fn what(self) -> &'static str {
        match self {
            Self::NotFound => "there is no such file",
            Self::PermissionDenied => "this user may not read it",
            Self::Directory => "it is a directory",
            Self::NotRegular => "it is a pipe, a socket or a device",
            Self::TooLong => "it is too long for what it should be",
            Self::NotText => "it is not UTF-8 text",
            Self::Other(_) => "it cannot be read",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NotFound => "write the path as the file has it",
            Self::PermissionDenied => "let this user read it, with `chmod` or `chown`",
            Self::Directory => "name the file in it",
            Self::NotRegular => "name a regular file",
            Self::TooLong | Self::NotText | Self::Other(_) => "name another file",
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())?;
        if let Self::Other(kind) = self {
            write!(f, " ({kind})")?;
        }
        write!(f, "; {}", self.remedy())
    }
}

impl std::error::Error for FileError {}

/// All bytes of a regular file of at most `limit` bytes; symbolic links are followed.
///
/// Whoever must wipe the content wraps the result in `Zeroizing`: the buffer is as large as the
/// file from the beginning, so no copy of it stays behind unless the file grows meanwhile.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = open(path)?;
    let length = file.metadata().map_err(|error| FileError::from_io(&error))?.len();
    if length > limit {
        return Err(FileError::TooLong);
    }
    // Files below /proc and /sys say that they are empty.
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
    file.take(limit + 1).read_to_end(&mut content).map_err(|error| FileError::from_io(&error))?;
    if content.len() as u64 > limit {
        return Err(FileError::TooLong);
    }
    Ok(content)
}

/// As [`read`], for text.
pub fn read_to_string(path: &Path, limit: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, limit)?).map_err(|_| FileError::NotText)
}

/// A regular file, open for reading. Never waits for somebody who writes.
pub fn open(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // Of no effect on regular files. Opening a FIFO returns at once, and so does a terminal.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path).map_err(|error| FileError::from_io(&error))?;
    let kind = file.metadata().map_err(|error| FileError::from_io(&error))?;
    if kind.is_dir() {
        return Err(FileError::Directory);
    }
    if !kind.is_file() {
        return Err(FileError::NotRegular);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).as_deref(), Ok(b"12345".as_slice()));
        assert_eq!(read(&path, 4), Err(FileError::TooLong));
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_to_string(&path, 5), Err(FileError::NotText));
        assert_eq!(read(&folder.path().join("none"), 5), Err(FileError::NotFound));
        assert_eq!(read(&path.join("below"), 5), Err(FileError::NotFound));
        assert_eq!(read(folder.path(), 5), Err(FileError::Directory));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        assert_eq!(read(&fifo, 5), Err(FileError::NotRegular));
        let socket = folder.path().join("socket");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(read(&socket, 5), Err(FileError::NotRegular | FileError::Other(_))));
        for device in ["/dev/zero", "/dev/null"] {
            assert_eq!(read(Path::new(device), 5), Err(FileError::NotRegular), "{device}");
        }
    }

    /// They say that they are empty, and some never end.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_hides_its_length_is_bounded_too() {
        let maps = Path::new("/proc/self/maps");
        assert!(read(maps, 1 << 20).unwrap().len() > 10);
        assert_eq!(read(maps, 10), Err(FileError::TooLong));
    }
}
