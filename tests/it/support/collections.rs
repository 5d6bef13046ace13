//! The collections of a test, removed when its thread ends: every test has a thread of its own. All tests of a binary
//! share one embedded server, and it holds only as many collections as the limit on open files allows.

use std::cell::RefCell;

use qdrant_client::Qdrant;

thread_local! {
    static OWN: RefCell<Own> = const { RefCell::new(Own(Vec::new())) };
}

/// Prefixes of the collections of one thread.
struct Own(Vec<String>);

impl Drop for Own {
    fn drop(&mut self) {
        remove_now(std::mem::take(&mut self.0));
    }
}

/// Removes the collections under `prefixes` and waits for it, wherever it is called from: in a thread and a runtime of its own.
pub(crate) fn remove_now(prefixes: Vec<String>) {
    let Some(url) = super::started_url() else { return };
    let removing = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(remove(&url, &prefixes))
    });
    drop(removing.join());
}

/// A prefix for names of collections that no other test, process or run uses.
pub(crate) fn unique_prefix() -> String {
    let prefix = format!("test_{}_", uuid::Uuid::new_v4().simple());
    OWN.with_borrow_mut(|own| own.0.push(prefix.clone()));
    prefix
}

/// Removes what the server holds under `prefixes`. A collection that it does not remove costs only space.
async fn remove(url: &str, prefixes: &[String]) -> Option<()> {
    let client = Qdrant::from_url(url).skip_compatibility_check().build().ok()?;
    for collection in client.list_collections().await.ok()?.collections {
        if prefixes.iter().any(|prefix| collection.name.starts_with(prefix)) {
            client.delete_collection(collection.name).await.ok();
        }
    }
    Some(())
}
