//! Reads the small files that settings name: keys, certificates, configuration, credentials.
//!
//! A path may name anything. A FIFO without a writer would block its reader forever, and a device
//! or a log file could fill the memory. So the file is opened without waiting, checked by its open
//! handle, and read up to a limit.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _},
    path::Path,
};

/// Why a file was not read. `Display` prints the rest of a sentence that names the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// There is no file with this name.
    NotFound,
    /// This process may not read the file, or may not enter a directory above it.
    PermissionDenied,
    /// It is a directory.
    Directory,
    /// It is a FIFO, a socket or a device.
    NotRegular,
    /// It has more bytes than the limit.
    TooLong,
    /// The file is not UTF-8, which [`read_to_string`] requires.
    NotText,
    /// Any other error of the system.
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

    /// The reason. It contains nothing of the path or of the content.
    pub fn what(self) -> &'static str {
        match self {
            Self::NotFound => "there is no such file",
            Self::PermissionDenied => "this user may not read it",
            Self::Directory => "it is a directory",
            Self::NotRegular => "it is a pipe, a socket or a device",
            Self::TooLong => "it is too long for its purpose",
            Self::NotText => "it is not UTF-8 text",
            Self::Other(_) => "it cannot be read",
        }
    }

    /// The remedy.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NotFound => "check the path",
            Self::PermissionDenied => "allow this user to read it, with `chmod` or `chown`",
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

/// Reads all bytes of a regular file of at most `limit` bytes; symbolic links are followed.
///
/// A caller that must wipe the content wraps the result in `Zeroizing`. The buffer is as large as
/// the file from the beginning, so no copy of the content remains elsewhere in memory, unless the
/// file grows while it is read.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = open(path)?;
    let length = file.metadata().map_err(|error| FileError::from_io(&error))?.len();
    if length > limit {
        return Err(FileError::TooLong);
    }
    // Files below /proc and /sys report a length of zero.
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
    file.take(limit + 1).read_to_end(&mut content).map_err(|error| FileError::from_io(&error))?;
    if content.len() as u64 > limit {
        return Err(FileError::TooLong);
    }
    Ok(content)
}

/// Like [`read`], for text.
pub fn read_to_string(path: &Path, limit: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, limit)?).map_err(|_| FileError::NotText)
}

/// Opens a regular file for reading. It never waits for a writer.
pub fn open(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // The flags have no effect on regular files. With them, opening a FIFO or a terminal
        // returns at once.
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
    fn a_fifo_a_socket_and_a_device_are_refused_without_waiting() {
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

    /// Such files report a length of zero, and some never end.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_hides_its_length_is_bounded_too() {
        let maps = Path::new("/proc/self/maps");
        assert!(read(maps, 1 << 20).unwrap().len() > 10);
        assert_eq!(read(maps, 10), Err(FileError::TooLong));
    }
}
