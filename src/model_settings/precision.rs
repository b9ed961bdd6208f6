//! `[precision]` and `[optimize]`: their grammar, and the combinations that are
//! refused.

use serde::Deserialize;
use toml::Spanned;

use super::source::{SettingsError, SettingsSource};
use cresset_backend::{Optimize, Precision, ReducedType};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrecisionTable {
    weights: Option<ReducedType>,
    autocast: Option<Spanned<ReducedType>>,
    #[serde(default)]
    channels_last: bool,
    tf32: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OptimizeTable {
    freeze: Option<bool>,
    for_inference: Option<Spanned<bool>>,
}

impl SettingsSource<'_> {
    pub(super) fn precision(&self, table: PrecisionTable) -> Result<Precision, SettingsError> {
        if let (Some(weights), Some(autocast)) = (table.weights, &table.autocast) {
            return Err(self.wrong(
                &autocast.span(),
                format!(
                    "autocast = \"{}\" beside weights = \"{weights}\": autocast computes from FP32 weights; \
                     leave one of the two out",
                    autocast.get_ref()
                ),
            ));
        }
        Ok(Precision {
            weights: table.weights,
            autocast: table.autocast.map(Spanned::into_inner),
            channels_last: table.channels_last,
            tf32: table.tf32,
        })
    }

    /// `precision` is the other table of the same file.
    pub(super) fn optimize(
        &self,
        table: OptimizeTable,
        precision: &Precision,
    ) -> Result<Optimize, SettingsError> {
        let OptimizeTable { freeze, for_inference } = table;
        let given = for_inference.as_ref().map(|given| *given.get_ref());
        let Some(asked) = for_inference.filter(|asked| *asked.get_ref()) else {
            return Ok(Optimize { freeze, for_inference: given });
        };
        let contradiction = if freeze == Some(false) {
            "freeze = false: only a frozen module can be optimised for inference"
        } else if precision.autocast.is_some() {
            "autocast: the operations that it puts in are none that autocast knows"
        } else {
            return Ok(Optimize { freeze, for_inference: Some(true) });
        };
        let message = format!("for_inference = true beside {contradiction}; leave one of the two out");
        Err(self.wrong(&asked.span(), message))
    }
}

#[cfg(test)]
mod tests {
    use crate::model_settings::testing::{read_text, refused};
    use cresset_backend::{Optimize, Precision, ReducedType};

    #[test]
    fn whole_tables_are_read() {
        let settings = read_text(
            "[precision]\nweights = \"bf16\"\nchannels_last = true\ntf32 = false\n\n\
             [optimize]\nfreeze = true\nfor_inference = true\n",
        )
        .unwrap();
        let precision = Precision {
            weights: Some(ReducedType::Bf16),
            autocast: None,
            channels_last: true,
            tf32: Some(false),
        };
        assert_eq!(settings.precision, precision);
        assert_eq!(settings.optimize, Optimize { freeze: Some(true), for_inference: Some(true) });
        assert!(settings.transforms.is_none());

        let settings = read_text(
            "[precision]\nautocast = \"fp16\"\n[optimize]\nfreeze = false\nfor_inference = false\n",
        )
        .unwrap();
        assert_eq!(settings.precision.autocast, Some(ReducedType::Fp16));
        assert_eq!(settings.optimize, Optimize { freeze: Some(false), for_inference: Some(false) });
    }

    #[test]
    fn nothing_is_asked_for_by_default() {
        for text in ["", "[precision]\n", "[precision]\n[optimize]\n", "[transform]\n"] {
            let settings = read_text(text).unwrap();
            assert_eq!((settings.precision, settings.optimize), Default::default());
        }
    }

    #[test]
    fn what_contradicts_itself_is_placed() {
        insta::assert_snapshot!(
            refused("[precision]\nweights = \"bf16\"\nautocast = \"fp16\"\n"),
            @r#"cresset.toml, line 3: autocast = "fp16" beside weights = "bf16": autocast computes from FP32 weights; leave one of the two out"#
        );
        insta::assert_snapshot!(
            refused("[optimize]\nfreeze = false\nfor_inference = true\n"),
            @"cresset.toml, line 3: for_inference = true beside freeze = false: only a frozen module can be optimised for inference; leave one of the two out"
        );
        insta::assert_snapshot!(
            refused("[optimize]\nfor_inference = true\n[precision]\nautocast = \"bf16\"\n"),
            @"cresset.toml, line 2: for_inference = true beside autocast: the operations that it puts in are none that autocast knows; leave one of the two out"
        );
    }

    #[test]
    fn keys_and_values_are_checked() {
        insta::assert_snapshot!(
            refused("[precision]\n\nweights = \"int8\"\n"),
            @"cresset.toml, line 3: weights: unknown variant 'int8', expected 'bf16' or 'fp16'"
        );
        let error = refused("[precision]\nautocast = true\n");
        assert!(error.starts_with("cresset.toml, line 2: autocast: "), "{error}");
        insta::assert_snapshot!(
            refused("[precision]\nchannels_last = 1\n"),
            @"cresset.toml, line 2: channels_last: invalid type: integer '1', expected a boolean"
        );
        insta::assert_snapshot!(
            refused("[precision]\nformat = \"bf16\"\n"),
            @"cresset.toml, line 2: unknown key 'format', expected one of 'weights', 'autocast', 'channels_last', 'tf32'"
        );
        insta::assert_snapshot!(
            refused("[optimize]\nfuse = true\n"),
            @"cresset.toml, line 2: unknown key 'fuse', expected 'freeze' or 'for_inference'"
        );
    }
}
