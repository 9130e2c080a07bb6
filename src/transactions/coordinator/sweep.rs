//! What time does: overdue transactions are aborted, idle transactional ids are forgotten, and endings that are done with
//! leave the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::shard::Shard;
use super::{Coordinator, now_ms, quoted};
use crate::storage::{KeySpace, WriteBatch};
use crate::transactions::error::TransactionError;
use crate::transactions::store;
use crate::transactions::transaction::Refused;

impl Coordinator {
    /// Aborts what has been open for longer than its producer asked for, and takes the epoch away from that producer.
    pub async fn abort_overdue(&self) {
        for number in 0..store::SHARDS {
            let overdue: Vec<Arc<str>> = match self.loaded(number) {
                Ok(shard) => {
                    let now_ms = now_ms();
                    let overdue = shard.ids.iter().filter(|(_, known)| known.is_overdue(now_ms));
                    overdue.map(|(id, _)| id.clone()).collect()
                }
                Err(_) => continue,
            };
            for id in overdue {
                let mut expired = self.expire(&id, None);
                if expired == Err(Refused::NeedsProducerId) {
                    let Ok(spare) = self.producer_id().await else { continue };
                    expired = self.expire(&id, Some(spare));
                }
                if let Err(error) = expired {
                    warn!(id = quoted(&id), %error, "an overdue transaction could not be aborted now");
                }
            }
        }
    }

    fn expire(&self, id: &Arc<str>, spare: Option<i64>) -> Result<(), Refused> {
        let mut shard = self.shard(id)?;
        let Some((id, transaction)) = shard.get_mut(id)? else {
            return Ok(());
        };
        let (producer_id, timeout_ms) = (transaction.producer_id, transaction.timeout_ms);
        let Some(expired) = transaction.expire(spare, now_ms())? else {
            return Ok(());
        };
        info!(id = quoted(&id), producer_id, timeout_ms, "a transaction took too long and is aborted");
        self.0.metrics.observe_overdue();
        // Nobody waits for the answer; the ending is carried out all the same.
        self.decided(&mut shard, &id, expired.ending, Err(TransactionError::ProducerFenced)).map(drop)?;
        Ok(())
    }

    /// Forgets transactional ids that nobody has used for `transactional.id.expiration.ms`.
    pub fn forget_idle(&self) {
        let expiration_ms = self.0.settings.id_expiration_ms;
        for number in 0..store::SHARDS {
            let Ok(mut guard) = self.loaded(number) else { continue };
            let shard = &mut *guard;
            let now_ms = now_ms();
            let idle: Vec<Arc<str>> = shard
                .ids
                .iter()
                .filter(|(_, known)| known.is_forgettable(expiration_ms, now_ms))
                .map(|(id, _)| id.clone())
                // The ending must find its id.
                .filter(|id| !has_unsettled(shard, id))
                .collect();
            for id in idle {
                shard.ids.remove(&id);
                self.0.known.fetch_sub(1, Ordering::Relaxed);
                if self.write(shard, &id).is_err() {
                    break;
                }
                info!(id = quoted(&id), "an idle transactional id is forgotten");
            }
        }
    }

    /// Tries again what could not be carried out, and deletes endings that are done with where no other write has taken
    /// them along.
    pub fn tidy(&self) {
        self.retry_endings();
        for number in 0..store::SHARDS {
            let Ok(mut shard) = self.loaded(number) else { continue };
            if shard.done.is_empty() {
                continue;
            }
            let mut rows = WriteBatch::new();
            for key in shard.done.drain(..) {
                rows.delete(KeySpace::TransactionEndings, key);
            }
            // Refused, they are carried out once more after a reload, which finds nothing to do.
            self.queue(&mut shard, rows).ok();
        }
    }
}

fn has_unsettled(shard: &Shard, id: &Arc<str>) -> bool {
    shard.unsettled.range((id.clone(), 0)..=(id.clone(), u64::MAX)).next().is_some()
}
