//! A connection to Qdrant that loses answers on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards everything, until told to cut.
pub(crate) struct Proxy {
    pub(crate) url: String,
    /// How many answers are lost yet, each together with its connection.
    cuts: Arc<AtomicUsize>,
    up: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn to(url: &str) -> Self {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let cuts = Arc::new(AtomicUsize::new(0));
        let (up, seen) = watch::channel(true);
        let shared = Arc::clone(&cuts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *seen.borrow() {
                    tokio::spawn(forward(client, target.clone(), Arc::clone(&shared), seen.clone()));
                }
            }
        });
        Self { url, cuts, up }
    }

    /// Loses the next `count` answers: requests arrive, their senders learn nothing.
    pub(crate) fn cut(&self, count: usize) {
        self.cuts.store(count, Ordering::SeqCst);
    }

    /// Loses no more answers, and gives back how many of those asked for were lost.
    pub(crate) fn mend(&self, asked: usize) -> usize {
        asked - self.cuts.swap(0, Ordering::SeqCst)
    }

    /// Cuts every connection and takes no new one, or works again.
    pub(crate) fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }
}

async fn forward(mut client: TcpStream, target: String, cuts: Arc<AtomicUsize>, mut up: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(length) if length > 0 && server.write_all(&asked[..length]).await.is_ok() => {}
                _ => return,
            },
            read = server.read(&mut answered) => {
                let lost = cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                match read {
                    Ok(length) if length > 0 && !lost && client.write_all(&answered[..length]).await.is_ok() => {}
                    _ => return,
                }
            },
            // The guard that this gives must not live through a write above.
            () = async { drop(up.wait_for(|up| !up).await) } => return,
        }
    }
}
