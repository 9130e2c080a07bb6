//! A decision whose answer is given when what it speaks of is durable.

use std::future::Future;
use std::pin::Pin;

use crate::groups::coordinator::Answering;
use crate::storage::journal::Receipt;
use crate::transactions::error::TransactionError;

/// An answer on its way.
pub enum Decided<T> {
    /// It can be given at once.
    Now(Result<T, TransactionError>),
    /// It can be given when this is durable: a refusal speaks of the state as an answer does.
    Durable(Result<T, TransactionError>, Receipt),
    /// More has to happen first.
    Later(Pin<Box<dyn Future<Output = Result<T, TransactionError>> + Send>>),
}

impl<T: Send + 'static> Decided<T> {
    /// A decision that waits for a receipt, if there is one.
    pub(super) fn when(answer: Result<T, TransactionError>, receipt: Option<Receipt>) -> Decided<T> {
        match receipt.map(|receipt| (receipt.outcome(), receipt)) {
            None | Some((Some(Ok(())), _)) => Decided::Now(answer),
            Some((Some(Err(_)), _)) => Decided::Now(Err(TransactionError::NotCoordinator)),
            Some((None, receipt)) => Decided::Durable(answer, receipt),
        }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// The refusal, or [`TransactionError::NotCoordinator`] when it could not be made durable.
    pub async fn settled(self) -> Result<T, TransactionError> {
        match self {
            Decided::Now(answer) => answer,
            Decided::Durable(answer, receipt) => {
                receipt.await.map_err(|_| TransactionError::NotCoordinator).and(answer)
            }
            Decided::Later(answer) => answer.await,
        }
    }

    /// Shapes the answer.
    pub fn answer<R: Send + 'static>(
        self,
        shape: impl FnOnce(Result<T, TransactionError>) -> R + Send + 'static,
    ) -> Answering<R> {
        match self {
            Decided::Now(answer) => Answering::Now(shape(answer)),
            later => Answering::Later(Box::pin(async move { shape(later.settled().await) })),
        }
    }
}
