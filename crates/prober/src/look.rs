//! What NVML says of one card. Each question is announced before it is asked; the first error that means anything for
//! the card is the last question.

use crate::cards::{Card, nvlinks};
use crate::instances::Instances;
use crate::out::Out;
use firstlight_contract::prober::{self, ComputeMode, Ecc, Failure, FailureKind, Memory, Rows};
use nvml_wrapper::enum_wrappers::device::{self, EccCounter, MemoryError};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use std::io;

/// `NVML_FI_DEV_REMAPPED_PENDING` and `NVML_FI_DEV_REMAPPED_FAILURE` (nvml.h).
const REMAPPED: [FieldId; 2] = [FieldId(144), FieldId(145)];
/// The question for instances.
const INSTANCES: &str = "nvmlDeviceGetHandleByUUID";
/// `NVML_DEVICE_MIG_ENABLE`.
const MIG_ENABLED: u32 = 1;

/// Asks everything.
pub(crate) fn ask(card: &mut Card<'_>, instances: &Instances<'_>, out: &mut Out) -> io::Result<prober::Card> {
    if card.nvlinks.is_none() {
        out.asking("nvmlDeviceGetNvLinkRemotePciInfo", Some(&card.uuid))?;
        card.nvlinks = Some(nvlinks(&card.device));
    }
    let mut asked = Asked { card, out, failure: None };
    let mut look = prober::Card {
        uuid: card.uuid.clone(),
        pci: card.pci.clone(),
        memory: asked.ask("nvmlDeviceGetMemoryInfo", memory)?,
        capability: asked.ask("nvmlDeviceGetCudaComputeCapability", capability)?,
        mig: asked.ask("nvmlDeviceGetMigMode", |card| Ok(card.device.mig_mode()?.current == MIG_ENABLED))?,
        ecc: asked.ask("nvmlDeviceGetTotalEccErrors", ecc)?,
        rows: asked.ask("nvmlDeviceGetFieldValues", rows)?,
        nvlinks: card.nvlinks.clone().unwrap_or_default(),
        compute: asked.ask("nvmlDeviceGetComputeMode", compute)?,
        instances: None,
        failure: None,
    };
    if look.mig == Some(true) {
        look.instances = asked.ask(INSTANCES, |card| instances.of(card))?;
    }
    Ok(prober::Card { failure: asked.failure, ..look })
}

struct Asked<'a, 'nvml> {
    card: &'a Card<'nvml>,
    out: &'a mut Out,
    failure: Option<Failure>,
}

impl Asked<'_, '_> {
    /// `None` where NVML does not support it, or has failed.
    fn ask<T>(
        &mut self,
        call: &str,
        question: impl FnOnce(&Card<'_>) -> Result<T, NvmlError>,
    ) -> io::Result<Option<T>> {
        if self.failure.is_some() {
            return Ok(None);
        }
        self.out.asking(call, Some(&self.card.uuid))?;
        Ok(question(self.card).map_err(|error| self.failure = failure(call, &error)).ok())
    }
}

/// What an error means for the card; `None`: only that there is no answer.
fn failure(call: &str, error: &NvmlError) -> Option<Failure> {
    let kind = match error {
        NvmlError::NotSupported
        | NvmlError::FunctionNotFound
        | NvmlError::FailedToLoadSymbol(_)
        | NvmlError::NoData
        | NvmlError::VgpuEccNotSupported => return None,
        // Of a card with MIG on, NVML tells some things to nobody but who may see all its instances
        // (ollama/ollama#1500).
        NvmlError::NoPermission if call != INSTANCES => return None,
        NvmlError::GpuLost => FailureKind::Lost,
        NvmlError::ResetRequired => FailureKind::Reset,
        _ => FailureKind::Other,
    };
    Some(Failure { kind, call: call.to_owned(), words: error.to_string() })
}

fn memory(card: &Card<'_>) -> Result<Memory, NvmlError> {
    let found = card.device.memory_info()?;
    Ok(Memory { total: found.total, reserved: found.reserved, used: found.used })
}

fn capability(card: &Card<'_>) -> Result<(u32, u32), NvmlError> {
    let found = card.device.cuda_compute_capability()?;
    let number = |number: i32| u32::try_from(number).map_err(|_| NvmlError::NoData);
    Ok((number(found.major)?, number(found.minor)?))
}

fn compute(card: &Card<'_>) -> Result<ComputeMode, NvmlError> {
    Ok(match card.device.compute_mode() {
        Ok(device::ComputeMode::Default) => ComputeMode::Default,
        // The former was taken for the latter since it was deprecated (nvml.h).
        Ok(device::ComputeMode::ExclusiveThread | device::ComputeMode::ExclusiveProcess) => {
            ComputeMode::Exclusive
        }
        Ok(device::ComputeMode::Prohibited) => ComputeMode::Prohibited,
        Err(NvmlError::UnexpectedVariant(_)) => ComputeMode::Other,
        Err(error) => return Err(error),
    })
}

fn ecc(card: &Card<'_>) -> Result<Ecc, NvmlError> {
    let enabled = card.device.is_ecc_enabled()?.currently_enabled;
    let count = || card.device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
    Ok(Ecc { enabled, uncorrected: if enabled { count()? } else { 0 } })
}

fn rows(card: &Card<'_>) -> Result<Rows, NvmlError> {
    let values = card.device.field_values_for(&REMAPPED)?.into_iter();
    // The call succeeds, and each value says for itself whether there is one.
    let values = values.map(|value| value.and_then(|sample| sample.value)).collect::<Result<Vec<_>, _>>()?;
    let is_set = |value: Option<&SampleValue>| match value {
        Some(SampleValue::U32(number)) => *number != 0,
        Some(SampleValue::U64(number)) => *number != 0,
        _ => false,
    };
    Ok(Rows { pending: is_set(values.first()), failed: is_set(values.get(1)) })
}
