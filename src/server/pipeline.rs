//! Replies in request order. Requests begin when they arrive; only the replies wait for each other.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use super::PendingReply;
use crate::protocol::reply::{Chunk, Reply};

enum Slot {
    Ready(Reply),
    Waiting(PendingReply),
}

/// The requests of one connection that are under way, oldest first.
#[derive(Default)]
pub struct Pipeline {
    slots: VecDeque<(Slot, usize)>,
    bytes: usize,
}

impl Pipeline {
    /// Adds a reply that is ready. `request_bytes` count against the connection until it is taken.
    pub fn push_ready(&mut self, reply: Reply, request_bytes: usize) {
        let held = request_bytes + reply_bytes(&reply);
        self.bytes += held;
        self.slots.push_back((Slot::Ready(reply), held));
    }

    /// Adds a reply that will come.
    pub fn push_waiting(&mut self, reply: PendingReply, request_bytes: usize) {
        self.bytes += request_bytes;
        self.slots.push_back((Slot::Waiting(reply), request_bytes));
    }

    /// Requests under way.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest reply, when it is ready. Pending while nothing is under way.
    ///
    /// Only the oldest is polled: the others' effects are done, and their replies could not be sent anyway.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Reply> {
        let Some((slot, held)) = self.slots.front_mut() else {
            return Poll::Pending;
        };
        let reply = match slot {
            Slot::Ready(reply) => std::mem::replace(reply, Reply::None),
            Slot::Waiting(waiting) => match waiting.as_mut().poll(context) {
                Poll::Ready(reply) => reply,
                Poll::Pending => return Poll::Pending,
            },
        };
        self.bytes -= *held;
        self.slots.pop_front();
        Poll::Ready(reply)
    }

    /// As [`Pipeline::poll_next`]. Cancel safe: a reply that is not taken stays first.
    pub async fn next(&mut self) -> Reply {
        poll_fn(|context| self.poll_next(context)).await
    }
}

/// Bytes of memory that a waiting reply pins; ranges of files pin none.
fn reply_bytes(reply: &Reply) -> usize {
    match reply {
        Reply::Single(bytes) => bytes.len(),
        Reply::Chunks(chunks) => chunks
            .iter()
            .map(|chunk| match chunk {
                Chunk::Bytes(bytes) => bytes.len(),
                Chunk::File { .. } => 0,
            })
            .sum(),
        Reply::None | Reply::Close => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tokio::sync::oneshot;

    fn tag(reply: Reply) -> u8 {
        match reply {
            Reply::Single(bytes) => bytes[0],
            other => panic!("unexpected reply {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_slow_first_request_holds_back_the_later_replies_in_order() {
        let mut pipeline = Pipeline::default();
        let (finish, finished) = oneshot::channel::<()>();
        pipeline.push_waiting(
            Box::pin(async move {
                finished.await.unwrap();
                Reply::Single(Bytes::from_static(&[1]))
            }),
            10,
        );
        pipeline.push_ready(Reply::Single(Bytes::from_static(&[2])), 20);
        assert_eq!((pipeline.len(), pipeline.bytes()), (2, 31));
        tokio::select! {
            biased;
            _ = pipeline.next() => panic!("the first is not ready"),
            () = std::future::ready(()) => {}
        }
        finish.send(()).unwrap();
        assert_eq!(tag(pipeline.next().await), 1);
        assert_eq!(tag(pipeline.next().await), 2);
        assert!(pipeline.is_empty());
        assert_eq!(pipeline.bytes(), 0);
    }
}
