//! Any AAC sample rate to the 48 kHz of Opus.

use super::TranscodeError;
use rubato::{Resampler, SincFixedIn, SincInterpolationParameters, SincInterpolationType, WindowFunction};
use tallylight_media::codec::aac::FRAME_LENGTH;
use tallylight_media::codec::opus::CLOCK_RATE_HZ;

/// Taps of the filter. It must see this much of what follows: 3 ms at 44.1 kHz.
const FILTER_LENGTH: usize = 128;

/// Frames in, samples at 48 kHz out. Output and input start at the same moment; what the filter still needs
/// to see the end of is missing from the first call's output and comes with the next.
pub struct To48kHz {
    resampler: SincFixedIn<f32>,
    output: Vec<Vec<f32>>,
}

impl To48kHz {
    /// None when the rate is 48 kHz already.
    pub fn new(sample_rate_hz: u32, channels: u8) -> Result<Option<To48kHz>, TranscodeError> {
        if sample_rate_hz == CLOCK_RATE_HZ {
            return Ok(None);
        }
        let parameters = SincInterpolationParameters {
            sinc_len: FILTER_LENGTH,
            f_cutoff: 0.95,
            oversampling_factor: 256,
            interpolation: SincInterpolationType::Linear,
            window: WindowFunction::BlackmanHarris2,
        };
        let ratio = f64::from(CLOCK_RATE_HZ) / f64::from(sample_rate_hz);
        let resampler = SincFixedIn::new(ratio, 1.0, parameters, FRAME_LENGTH as usize, channels.into())?;
        let output = resampler.output_buffer_allocate(true);
        Ok(Some(To48kHz { resampler, output }))
    }

    pub fn reset(&mut self) {
        self.resampler.reset();
    }

    /// Resamples one frame of `planes`; the returned planes hold the given number of samples.
    pub fn process(&mut self, planes: &[Vec<f32>]) -> Result<(&[Vec<f32>], usize), TranscodeError> {
        let (_, written) = self.resampler.process_into_buffer(planes, &mut self.output, None)?;
        Ok((&self.output, written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_click_keeps_its_place_within_a_sample_of_either_rate() {
        for rate in [8_000, 22_050, 32_000, 44_100, 96_000] {
            let mut resampler = To48kHz::new(rate, 1).unwrap().expect("not 48 kHz");
            let mut output = Vec::new();
            for frame in 0..4 {
                let mut plane = vec![0.0; FRAME_LENGTH as usize];
                if frame == 1 {
                    plane[500] = 1.0;
                }
                let (planes, count) = resampler.process(&[plane]).unwrap();
                output.extend_from_slice(&planes[0][..count]);
            }
            let loudest = (0..output.len()).max_by(|a, b| output[*a].abs().total_cmp(&output[*b].abs())).unwrap();
            let expected = (1024 + 500) * 48_000 / i64::from(rate);
            assert!((loudest as i64 - expected).abs() <= 6, "{rate}: {loudest} instead of {expected}");
        }
    }
}
