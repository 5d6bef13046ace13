//! A connection to Qdrant that on demand is slow, loses answers, breaks in the middle of a request, stands still between
//! two requests, or is cut like a cable: nothing passes, and what was sent arrives when it is mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Forwards everything, until told otherwise.
pub(crate) struct Proxy {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    /// How many answers are lost yet, each together with its connection.
    cuts: AtomicUsize,
    /// How many requests break off in their middle yet, each together with its connection.
    tears: AtomicUsize,
    /// How long requests take to arrive, in milliseconds.
    delay_ms: AtomicU64,
    /// Whether requests stop once the next answer has gone through.
    stop_after_answer: AtomicBool,
    /// Whether requests go through.
    flowing: watch::Sender<bool>,
    /// Whether anything passes, in either direction.
    joined: watch::Sender<bool>,
    /// Whether connections are taken and kept.
    up: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let shared = Arc::new(Shared {
            target: url.trim_start_matches("http://").to_owned(),
            cuts: AtomicUsize::new(0),
            tears: AtomicUsize::new(0),
            delay_ms: AtomicU64::new(0),
            stop_after_answer: AtomicBool::new(false),
            flowing: watch::Sender::new(true),
            joined: watch::Sender::new(true),
            up: watch::Sender::new(true),
        });
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let forwarding = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *forwarding.up.borrow() {
                    tokio::spawn(forward(client, Arc::clone(&forwarding)));
                }
            }
        });
        Self { url, shared }
    }

    /// Loses the next `count` answers: requests arrive, their senders learn nothing.
    pub(crate) fn cut(&self, count: usize) {
        self.shared.cuts.store(count, Ordering::SeqCst);
    }

    /// Loses no more answers, and gives back how many of those asked for were lost.
    pub(crate) fn mend(&self, asked: usize) -> usize {
        asked - self.shared.cuts.swap(0, Ordering::SeqCst)
    }

    /// Breaks the next `count` requests off in their middle, with a reset of their connection.
    pub(crate) fn tear(&self, count: usize) {
        self.shared.tears.store(count, Ordering::SeqCst);
    }

    /// How many requests are still to be broken off, and answers to be lost.
    pub(crate) fn pending(&self) -> usize {
        self.shared.tears.load(Ordering::SeqCst) + self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Makes requests take this long to arrive.
    pub(crate) fn delay(&self, delay: Duration) {
        self.shared.delay_ms.store(u64::try_from(delay.as_millis()).expect("a short delay"), Ordering::SeqCst);
    }

    /// Cuts the cable, or mends it: connections stay, nothing passes, and what was sent meanwhile arrives late.
    pub(crate) fn part(&self, parted: bool) {
        self.shared.joined.send_replace(!parted);
    }

    /// Cuts every connection and takes no new one, or works again.
    pub(crate) fn set_up(&self, up: bool) {
        self.shared.up.send_replace(up);
    }

    /// Lets the next answer through and then no request, until [`Proxy::flow`].
    pub(crate) fn stop_after_answer(&self) {
        self.shared.stop_after_answer.store(true, Ordering::SeqCst);
    }

    /// Waits until requests stand still.
    pub(crate) async fn stopped(&self) {
        self.shared.flowing.subscribe().wait_for(|flowing| !flowing).await.expect("the proxy lives");
    }

    /// Lets requests through again.
    pub(crate) fn flow(&self) {
        self.shared.flowing.send_replace(true);
    }
}

/// Takes one off `left`, and tells whether there was one.
fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

async fn forward(mut client: TcpStream, shared: Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect(&shared.target).await else { return };
    // As between processes that talk to each other directly; where it cannot be set it is only slower.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let torn = {
        let mut up = shared.up.subscribe();
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            torn = requests(from_client, to_server, &shared) => torn,
            () = answers(from_server, to_client, &shared) => false,
            () = async { drop(up.wait_for(|up| !up).await) } => false,
        }
    };
    if torn {
        drop((client.set_zero_linger(), server.set_zero_linger()));
    }
}

/// Passes requests on; gives back whether one was broken off.
async fn requests(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, shared: &Shared) -> bool {
    let (sender, mut queue) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut asked = vec![0; 65_536];
        while let Ok(length) = from.read(&mut asked).await
            && length > 0
        {
            let due = Instant::now() + Duration::from_millis(shared.delay_ms.load(Ordering::SeqCst));
            if sender.send((due, asked[..length].to_vec())).is_err() {
                break;
            }
        }
        // What it has sent still arrives.
        drop(sender);
        std::future::pending::<()>().await;
    };
    let (mut flowing, mut joined) = (shared.flowing.subscribe(), shared.joined.subscribe());
    let write = async {
        while let Some((due, bytes)) = queue.recv().await {
            tokio::time::sleep_until(due).await;
            // The guards that these give must not live on.
            drop(flowing.wait_for(|flowing| *flowing).await);
            drop(joined.wait_for(|joined| *joined).await);
            let is_torn = take_one(&shared.tears);
            let bytes = if is_torn { &bytes[..bytes.len() / 2] } else { &bytes[..] };
            if to.write_all(bytes).await.is_err() || is_torn {
                return is_torn;
            }
        }
        false
    };
    tokio::select! {
        () = read => false,
        torn = write => torn,
    }
}

/// Passes answers on, until one is lost.
async fn answers(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, shared: &Shared) {
    let mut joined = shared.joined.subscribe();
    let mut answered = vec![0; 65_536];
    while let Ok(length) = from.read(&mut answered).await
        && length > 0
    {
        let lost = take_one(&shared.cuts);
        if shared.stop_after_answer.swap(false, Ordering::SeqCst) {
            shared.flowing.send_replace(false);
        }
        if lost {
            return;
        }
        drop(joined.wait_for(|joined| *joined).await);
        if to.write_all(&answered[..length]).await.is_err() {
            return;
        }
    }
}
