//! What would a learned model make of the same signals?
//!
//! Two of `smartcore`: logistic regression on logarithms, and gradient-boosted trees on the signals as they are.

use super::fit::units;
use super::replay::Sample;
use sentinel::risk::SIGNALS;
use smartcore::linalg::basic::{arrays::Array, matrix::DenseMatrix};
use smartcore::linear::logistic_regression::{LogisticRegression, LogisticRegressionParameters};
use smartcore::xgboost::{XGRegressor, XGRegressorParameters};

type Trees = XGRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>>;

/// The program and version that learns.
pub(super) const VERSION: &str = "smartcore 0.7.0";

/// Models that were fitted.
pub(super) struct Models {
    slopes: [f64; SIGNALS],
    trees: Trees,
}

impl Models {
    /// Fits both.
    pub(super) fn fit(samples: &[Sample], seed: u64) -> Result<Self, String> {
        Ok(Self { slopes: slopes(samples)?, trees: trees(samples, seed)? })
    }

    /// Log odds, up to a constant.
    pub(super) fn logistic(&self, sample: &Sample) -> f64 {
        logarithms(sample).iter().zip(self.slopes).map(|(x, slope)| x * slope).sum()
    }

    /// Expected failures of each.
    pub(super) fn trees(&self, samples: &[Sample]) -> Vec<f64> {
        let Some(matrix) = matrix(samples, units) else { return Vec::new() };
        self.trees.predict(&matrix).expect("as many columns as it was fitted with")
    }
}

fn logarithms(sample: &Sample) -> [f64; SIGNALS] {
    units(sample).map(|x| (1.0 + 16.0 * x).ln())
}

/// `None` of no samples: no matrix has no rows.
fn matrix(samples: &[Sample], row: fn(&Sample) -> [f64; SIGNALS]) -> Option<DenseMatrix<f64>> {
    let values = samples.iter().flat_map(row).collect();
    DenseMatrix::new(samples.len(), SIGNALS, values, false).ok().filter(|_| !samples.is_empty())
}

fn slopes(samples: &[Sample]) -> Result<[f64; SIGNALS], String> {
    let rows = matrix(samples, logarithms).ok_or("no samples to fit on")?;
    let failed: Vec<u32> = samples.iter().map(|sample| u32::from(sample.failed)).collect();
    let parameters = LogisticRegressionParameters::default().with_alpha(1.0);
    let fitted = LogisticRegression::fit(&rows, &failed, parameters).map_err(|error| error.to_string())?;
    let coefficients = fitted.coefficients();
    Ok(std::array::from_fn(|i| *coefficients.get((0, i))))
}

fn trees(samples: &[Sample], seed: u64) -> Result<Trees, String> {
    let rows = matrix(samples, units).ok_or("no samples to fit on")?;
    let failed: Vec<f64> = samples.iter().map(|sample| f64::from(u8::from(sample.failed))).collect();
    let parameters = XGRegressorParameters::default()
        .with_n_estimators(40)
        .with_max_depth(3)
        .with_learning_rate(0.15)
        .with_min_child_weight(20)
        .with_base_score(0.0)
        .with_subsample(0.1)
        .with_seed(seed);
    Trees::fit(&rows, &failed, parameters).map_err(|error| error.to_string())
}
