//! The socket's place in the data directory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Name of the socket.
pub const FILE: &str = "control.sock";
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// Listens in a data directory whose lock the caller holds: what is there of an earlier broker is replaced. Only this
/// process's user can connect.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    remove(data_dir)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The name is made with the mode of the socket: at no time can anybody else connect.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    let place = Place::of(data_dir)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&place.path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Connects to the broker that runs on a data directory.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` when none listens there.
pub fn connect(data_dir: &Path) -> io::Result<UnixStream> {
    let place = Place::of(data_dir)?;
    UnixStream::connect(&place.path)
}

/// Removes the socket's name, if it is there.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(data_dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(data_dir.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A path short enough for an address, which has room for some hundred bytes.
struct Place {
    path: PathBuf,
    /// What the path goes through.
    _dir: Option<File>,
}

impl Place {
    fn of(data_dir: &Path) -> io::Result<Place> {
        let path = data_dir.join(FILE);
        if SocketAddrUnix::new(&path).is_ok() {
            return Ok(Place { path, _dir: None });
        }
        let dir = File::open(data_dir)?;
        Ok(Place { path: format!("/proc/self/fd/{}/{FILE}", dir.as_raw_fd()).into(), _dir: Some(dir) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn any_directory_has_a_socket_that_only_its_owner_can_use() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["short".to_owned(), "long-".repeat(50), format!("{0}/{0}", "deep-".repeat(50))] {
            let dir = temp.path().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            assert_eq!(connect(&dir).unwrap_err().kind(), io::ErrorKind::NotFound);
            drop(listen(&dir).unwrap());
            assert_eq!(connect(&dir).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            // What a killed broker left is replaced.
            let listener = listen(&dir).unwrap();
            let mode = std::fs::metadata(dir.join(FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            connect(&dir).unwrap().write_all(b"hello").unwrap();
            let mut heard = String::new();
            listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "hello");
            remove(&dir).unwrap();
            remove(&dir).unwrap();
            assert!(!dir.join(FILE).exists());
        }
    }
}
