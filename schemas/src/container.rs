//! Awards in Avro object container files, which bring their schema along. For files that people
//! make and send; records on topics have no container.

use std::io::Read;

use apache_avro::Reader;

use crate::award::AwardBuf;
use crate::limits::AWARD_BYTES_MAX;
use crate::writer_schemas::{WriterSchemaError, check, resolve_value};

/// Most that the general reader allocates for one text or collection, because a file says that so
/// much follows. The limit is the process's: it is above what any record within
/// [`AWARD_BYTES_MAX`] can need, so that records of other schemas are read as without it (I4).
const ALLOCATION_BYTES_MAX: usize = 64 << 20;

/// Why a container file, or an award in it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Not a container file, or a damaged one; nothing more can be read.
    #[error("not an Avro container file, or damaged: {0}")]
    Damaged(String),
    /// Its schema is not one of awards.
    #[error(transparent)]
    Schema(#[from] WriterSchemaError),
    /// A value does not fit an award's field, such as a null.
    #[error("this record cannot be read as hongbao.Award")]
    Misfit,
    /// Larger than an award may be.
    #[error("an award has at most {AWARD_BYTES_MAX} bytes")]
    TooLarge,
}

/// Reads a container file: its header now, its awards one by one. Damage ends the iteration after
/// one error; a record that is no award does not. Memory stays below some hundred MiB, whatever
/// lengths a file states.
///
/// # Errors
/// [`ContainerError::Damaged`] and [`ContainerError::Schema`].
pub fn read<R: Read>(
    input: R,
) -> Result<impl Iterator<Item = Result<AwardBuf, ContainerError>>, ContainerError> {
    let damaged = |error: apache_avro::Error| ContainerError::Damaged(error.to_string());
    apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES_MAX);
    let reader = Reader::new(input).map_err(damaged)?;
    check(reader.writer_schema())?;
    Ok(reader.map(move |value| {
        let award = resolve_value(value.map_err(damaged)?).ok_or(ContainerError::Misfit)?;
        let fits = award.as_award().encoded_bytes_max() <= AWARD_BYTES_MAX;
        if fits { Ok(award) } else { Err(ContainerError::TooLarge) }
    }))
}
