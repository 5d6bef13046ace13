//! A connection to Qdrant that loses answers, or stands still between two requests, on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards everything, until told otherwise.
pub(crate) struct Proxy {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    /// How many answers are lost yet, each together with its connection.
    cuts: AtomicUsize,
    /// Whether requests stop once the next answer has gone through.
    stop_after_answer: AtomicBool,
    /// Whether requests go through.
    flowing: watch::Sender<bool>,
    /// Whether connections are taken and kept.
    up: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let shared = Arc::new(Shared {
            target: url.trim_start_matches("http://").to_owned(),
            cuts: AtomicUsize::new(0),
            stop_after_answer: AtomicBool::new(false),
            flowing: watch::Sender::new(true),
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

async fn forward(mut client: TcpStream, shared: Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect(&shared.target).await else { return };
    let (mut up, mut flowing) = (shared.up.subscribe(), shared.flowing.subscribe());
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = async {
                // The guard that this gives must not live through a read.
                drop(flowing.wait_for(|flowing| *flowing).await);
                client.read(&mut asked).await
            } => {
                // It may have stopped while the read was waiting.
                drop(flowing.wait_for(|flowing| *flowing).await);
                match read {
                    Ok(length) if length > 0 && server.write_all(&asked[..length]).await.is_ok() => {}
                    _ => return,
                }
            }
            read = server.read(&mut answered) => {
                let cuts = &shared.cuts;
                let lost = cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                if shared.stop_after_answer.swap(false, Ordering::SeqCst) {
                    shared.flowing.send_replace(false);
                }
                match read {
                    Ok(length) if length > 0 && !lost && client.write_all(&answered[..length]).await.is_ok() => {}
                    _ => return,
                }
            },
            () = async { drop(up.wait_for(|up| !up).await) } => return,
        }
    }
}
