//! What is in a partition of the storage? One that was never written to is empty.

use commonware_runtime::{Error, Storage};

/// The names of its blobs, in order.
pub(crate) async fn names<E: Storage>(storage: &E, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
    match storage.scan(partition).await {
        Ok(mut names) => {
            names.sort_unstable();
            Ok(names)
        }
        Err(Error::PartitionMissing(_)) => Ok(Vec::new()),
        Err(problem) => Err(problem),
    }
}

/// The same where blobs are named by numbers, in order; what is named otherwise is passed over.
pub(crate) async fn numbers<E: Storage>(storage: &E, partition: &str) -> Result<Vec<u64>, Error> {
    let names = names(storage, partition).await?;
    Ok(names.iter().filter_map(|name| Some(u64::from_be_bytes(name.as_slice().try_into().ok()?))).collect())
}

/// Removes all of it, if there is any.
pub(crate) async fn remove<E: Storage>(storage: &E, partition: &str) -> Result<(), Error> {
    match storage.remove(partition, None).await {
        Ok(()) | Err(Error::PartitionMissing(_)) => Ok(()),
        Err(problem) => Err(problem),
    }
}
