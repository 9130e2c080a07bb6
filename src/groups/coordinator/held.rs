//! An answer that is given when what it speaks of is durable.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::oneshot;

use crate::groups::error::GroupError;
use crate::storage::journal::Receipt;

/// What a request that waits is sent: its answer, and what has to be durable before it is given.
pub(super) type Delivered<T> = (T, Option<Receipt>);

/// An answer on its way.
#[derive(Debug)]
pub enum Held<T> {
    /// It can be given at once.
    Now(Result<T, GroupError>),
    /// It can be given when this is durable: a refusal speaks of the group's state as an answer does.
    Durable(Result<T, GroupError>, Receipt),
    /// It is decided by what others do.
    Waiting(oneshot::Receiver<Delivered<T>>),
}

/// A shaped answer: at once, or later.
pub enum Answering<R> {
    /// At once.
    Now(R),
    /// Later.
    Later(Pin<Box<dyn Future<Output = R> + Send>>),
}

impl<T: Send + 'static> Held<T> {
    /// The answer of a decision, which can be given when its receipt, if there is one, is durable.
    pub(super) fn decided(decided: Result<(Result<T, GroupError>, Option<Receipt>), GroupError>) -> Held<T> {
        let (answer, receipt) = match decided {
            Ok(decided) => decided,
            Err(error) => return Held::Now(Err(error)),
        };
        match receipt.map(|receipt| (receipt.outcome(), receipt)) {
            None | Some((Some(Ok(())), _)) => Held::Now(answer),
            Some((Some(Err(_)), _)) => Held::Now(Err(GroupError::NotCoordinator)),
            Some((None, receipt)) => Held::Durable(answer, receipt),
        }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// The refusal, or [`GroupError::NotCoordinator`] when it could not be made durable.
    pub async fn settled(self) -> Result<T, GroupError> {
        match self {
            Held::Now(answer) => answer,
            Held::Durable(answer, receipt) => {
                receipt.await.map_err(|_| GroupError::NotCoordinator).and(answer)
            }
            Held::Waiting(waiting) => settled(waiting).await,
        }
    }

    /// Shapes the answer, which is an error when it could not be made durable.
    pub fn answer<R: Send + 'static>(
        self,
        shape: impl FnOnce(Result<T, GroupError>) -> R + Send + 'static,
    ) -> Answering<R> {
        match self {
            Held::Now(result) => Answering::Now(shape(result)),
            Held::Durable(answer, receipt) => Answering::Later(Box::pin(async move {
                shape(receipt.await.map_err(|_| GroupError::NotCoordinator).and(answer))
            })),
            Held::Waiting(waiting) => {
                Answering::Later(Box::pin(async move { shape(settled(waiting).await) }))
            }
        }
    }
}

async fn settled<T>(waiting: oneshot::Receiver<Delivered<T>>) -> Result<T, GroupError> {
    // The sender is dropped when the group is given up in memory: after a failed write, or when the broker stops.
    let (answer, receipt) = waiting.await.map_err(|_| GroupError::NotCoordinator)?;
    if let Some(receipt) = receipt {
        receipt.await.map_err(|_| GroupError::NotCoordinator)?;
    }
    Ok(answer)
}

impl<R: Send + 'static> Answering<R> {
    /// Several answers as one: at once when all are.
    pub fn all(answers: Vec<Answering<R>>) -> Answering<Vec<R>> {
        if answers.iter().any(|answer| matches!(answer, Answering::Later(_))) {
            return Answering::Later(Box::pin(async move {
                let mut given = Vec::with_capacity(answers.len());
                for answer in answers {
                    given.push(match answer {
                        Answering::Now(answer) => answer,
                        Answering::Later(answer) => answer.await,
                    });
                }
                given
            }));
        }
        let now = answers.into_iter().filter_map(|answer| match answer {
            Answering::Now(answer) => Some(answer),
            Answering::Later(_) => None,
        });
        Answering::Now(now.collect())
    }

    /// Shapes an answer, now or later.
    pub fn map<S: Send + 'static>(self, shape: impl FnOnce(R) -> S + Send + 'static) -> Answering<S> {
        match self {
            Answering::Now(answer) => Answering::Now(shape(answer)),
            Answering::Later(answer) => Answering::Later(Box::pin(async move { shape(answer.await) })),
        }
    }
}
