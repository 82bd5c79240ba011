//! The two doors: the Unix socket and the loopback listener, both with a bound on open connections.
//!
//! The socket is made under a name of its own, given its mode, and renamed into place, so that there is no moment at
//! which it stands open to the wrong people. A socket that is already there is replaced only if nobody answers on it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Members of the group may ask, everybody else may not even connect.
const SOCKET_MODE: u32 = 0o660;

/// Open connections of one door. Commands open one for a moment, a browser up to six.
pub const MOST_CONNECTIONS: usize = 64;

/// Wait after `accept` failed for want of a resource (file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers on it.
    #[error("another sortd answers on {}; stop it first (systemctl stop sortd)", .0.display())]
    Answered(PathBuf),
    /// Something else has the name.
    #[error("{} is there and is not a socket; remove it or set another [panel] socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    System {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why the page is not served.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The address is reachable from elsewhere.
    #[error(
        "{0} is not a loopback address; the page has no login, so only 127.0.0.0/8 and [::1] are allowed"
    )]
    NotLoopback(SocketAddr),
    /// The system refused.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The Unix socket, removed when the door is dropped.
#[derive(Debug)]
pub struct SocketDoor {
    listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
    permits: Arc<Semaphore>,
}

impl SocketDoor {
    /// Opens the socket at `path`.
    ///
    /// # Errors
    /// [`SocketError`] where somebody answers there, or the system refuses.
    pub async fn open(path: &Path) -> Result<SocketDoor, SocketError> {
        let fail = |what: &'static str| {
            let path = path.to_owned();
            move |source: io::Error| SocketError::System { what, path, source }
        };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NotASocket(path.to_owned()));
            }
            Ok(_) => match UnixStream::connect(path).await {
                Ok(_) => return Err(SocketError::Answered(path.to_owned())),
                // Nobody listens: left behind by a daemon that was killed.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    tracing::info!(socket = %path.display(), "stale socket replaced");
                }
                // Its owner unlinked it in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(fail("ask who has the socket")(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(directory) = path.parent() {
                    std::fs::create_dir_all(directory).map_err(fail("make the directory of"))?;
                }
            }
            Err(error) => return Err(fail("look at")(error)),
        }
        let mut making = path.as_os_str().to_owned();
        making.push(format!(".{}", std::process::id()));
        let making = PathBuf::from(making);
        match std::fs::remove_file(&making) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail("clear the way for")(error)),
        }
        let listener = UnixListener::bind(&making).map_err(fail("bind"))?;
        std::fs::set_permissions(&making, std::fs::Permissions::from_mode(SOCKET_MODE))
            .map_err(fail("set the mode of"))?;
        let made = std::fs::symlink_metadata(&making).map_err(fail("look at"))?;
        std::fs::rename(&making, path).map_err(fail("put in place"))?;
        Ok(SocketDoor {
            listener,
            path: path.to_owned(),
            identity: (made.dev(), made.ino()),
            permits: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
        })
    }
}

impl Drop for SocketDoor {
    fn drop(&mut self) {
        // Only if the name still means this socket: another daemon may have taken it over.
        let still_ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity);
        if still_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(socket = %self.path.display(), %error, "socket left behind");
        }
    }
}

/// Who is at the other end of the socket, as the kernel says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peer {
    /// User id.
    pub uid: Option<u32>,
    /// Process id.
    pub pid: Option<i32>,
}

impl Listener for SocketDoor {
    type Io = Permitted<UnixStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Peer) {
        loop {
            let permit = permit(&self.permits).await;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let credentials = stream.peer_cred().ok();
                    let peer = Peer {
                        uid: credentials.map(|who| who.uid()),
                        pid: credentials.and_then(|who| who.pid()),
                    };
                    return (Permitted { stream, _permit: permit }, peer);
                }
                Err(error) => accept_failed("socket", &error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer::default())
    }
}

/// The page's listener.
#[derive(Debug)]
pub struct PageDoor {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

/// Opens the page's listener on a loopback address; port 0 picks a free one.
///
/// # Errors
/// [`PageError`] for an address that others could reach, or one that cannot be had.
pub async fn open_page(address: SocketAddr) -> Result<PageDoor, PageError> {
    if !address.ip().is_loopback() {
        return Err(PageError::NotLoopback(address));
    }
    let listener =
        TcpListener::bind(address).await.map_err(|source| PageError::Listen { address, source })?;
    Ok(PageDoor { listener, permits: Arc::new(Semaphore::new(MOST_CONNECTIONS)) })
}

impl PageDoor {
    /// The address it listens on.
    ///
    /// # Errors
    /// The system's, where it cannot say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Listener for PageDoor {
    type Io = Permitted<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let permit = permit(&self.permits).await;
            match self.listener.accept().await {
                Ok((stream, address)) => return (Permitted { stream, _permit: permit }, address),
                Err(error) => accept_failed("page", &error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address()
    }
}

async fn permit(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed")
}

async fn accept_failed(door: &'static str, error: &io::Error) {
    tracing::debug!(door, %error, "accept failed");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// A connection that holds its place until it closes. Further ones wait in the kernel's own bounded queue.
#[derive(Debug)]
pub struct Permitted<S> {
    stream: S,
    _permit: OwnedSemaphorePermit,
}

impl<S: AsyncRead + Unpin> AsyncRead for Permitted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Permitted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_that_answers_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/sortd.sock");
        let first = SocketDoor::open(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        assert!(matches!(SocketDoor::open(&path).await, Err(SocketError::Answered(_))));

        // A kill leaves the name without a listener.
        let listener = std::os::unix::net::UnixListener::bind(directory.path().join("dead")).unwrap();
        drop(listener);
        let dead = directory.path().join("dead");
        let second = SocketDoor::open(&dead).await.unwrap();
        drop(second);
        assert!(!dead.exists(), "the door takes its name with it");
        drop(first);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sortd.sock");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(SocketDoor::open(&path).await, Err(SocketError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_name_taken_over_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sortd.sock");
        let first = SocketDoor::open(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = SocketDoor::open(&path).await.unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_page_stays_on_loopback() {
        let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(open_page(everywhere).await, Err(PageError::NotLoopback(_))));
        let door = open_page("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert_ne!(door.address().unwrap().port(), 0);
    }
}
