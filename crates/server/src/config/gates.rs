//! Feature gates: `--feature-gates=LeaseCheckpoint=true,AllBeta=false`.
//!
//! etcd keeps unfinished behaviour behind named gates. We know all of them by name, so that a
//! typing error is refused here as there, and show each in the metrics; what a gate changes in
//! this server is said by the part that asks [`FeatureGates::is_on`].

/// A gate that etcd 3.7 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// How far it has come.
    pub stage: Stage,
}

/// How far a feature has come; what is not finished is off unless asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Off by default.
    Alpha,
    /// On by default.
    Beta,
}

/// Every gate, sorted by name.
pub const GATES: [Gate; 9] = [
    Gate { name: "CompactHashCheck", stage: Stage::Alpha },
    Gate { name: "FastLeaseKeepAlive", stage: Stage::Beta },
    Gate { name: "InitialCorruptCheck", stage: Stage::Alpha },
    Gate { name: "LeaseCheckpoint", stage: Stage::Alpha },
    Gate { name: "LeaseCheckpointPersist", stage: Stage::Alpha },
    Gate { name: "PriorityRequest", stage: Stage::Alpha },
    Gate { name: "SetMemberLocalAddr", stage: Stage::Alpha },
    Gate { name: "StopGRPCServiceOnDefrag", stage: Stage::Alpha },
    Gate { name: "TxnModeWriteWithSharedBuffer", stage: Stage::Beta },
];

/// Which gates are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    on: [bool; GATES.len()],
}

/// Why a text is not a list of gates. The texts are etcd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// No such gate.
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
    /// `Name` without `=true` or `=false`.
    #[error("missing bool value for {0}")]
    NoValue(String),
    /// Not a truth value.
    #[error(
        "invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax"
    )]
    Value {
        /// The gate.
        name: String,
        /// What was written.
        value: String,
    },
}

impl Default for FeatureGates {
    fn default() -> FeatureGates {
        FeatureGates { on: GATES.map(|gate| gate.stage == Stage::Beta) }
    }
}

impl FeatureGates {
    /// Reads a comma list. `AllAlpha` and `AllBeta` set what is not named itself.
    pub fn parse(text: &str) -> Result<FeatureGates, GateError> {
        let mut gates = FeatureGates::default();
        let mut named = [false; GATES.len()];
        let mut stages = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (name, on) = parse_item(item)?;
            match name {
                "AllAlpha" => stages.push((Stage::Alpha, on)),
                "AllBeta" => stages.push((Stage::Beta, on)),
                name => {
                    let place = position(name).ok_or(GateError::Unknown(name.to_owned()))?;
                    gates.on[place] = on;
                    named[place] = true;
                }
            }
        }
        for (stage, on) in stages {
            for (place, gate) in GATES.iter().enumerate() {
                if gate.stage == stage && !named[place] {
                    gates.on[place] = on;
                }
            }
        }
        Ok(gates)
    }

    /// Whether a gate is on.
    ///
    /// # Panics
    /// If there is no gate of this name: the name is written in our own code.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.on[position(name).unwrap_or_else(|| panic!("{name} is no feature gate"))]
    }

    /// Every gate and whether it is on, by name.
    pub fn iter(&self) -> impl Iterator<Item = (Gate, bool)> {
        GATES.into_iter().zip(self.on)
    }

    /// Sets one gate, for a retired flag that became a gate.
    pub(crate) fn set(&mut self, name: &str, on: bool) {
        self.on[position(name).unwrap_or_else(|| panic!("{name} is no feature gate"))] = on;
    }
}

fn position(name: &str) -> Option<usize> {
    GATES.iter().position(|gate| gate.name == name)
}

fn parse_item(item: &str) -> Result<(&str, bool), GateError> {
    let (name, value) = item.split_once('=').ok_or(GateError::NoValue(item.to_owned()))?;
    let (name, value) = (name.trim(), value.trim());
    let on = super::value::parse_bool(value)
        .map_err(|_| GateError::Value { name: name.to_owned(), value: value.to_owned() })?;
    Ok((name, on))
}

#[cfg(test)]
mod tests {
    use super::FeatureGates;

    #[test]
    fn beta_gates_are_on_and_groups_yield_to_names() {
        let gates = FeatureGates::default();
        assert!(gates.is_on("FastLeaseKeepAlive"));
        assert!(!gates.is_on("LeaseCheckpoint"));
        let gates = FeatureGates::parse("LeaseCheckpoint=false, AllAlpha=true,AllBeta=0");
        let gates = gates.expect("a list of gates");
        assert!(!gates.is_on("LeaseCheckpoint"), "named itself");
        assert!(gates.is_on("CompactHashCheck"), "by its group");
        assert!(!gates.is_on("FastLeaseKeepAlive"), "by its group");
    }

    #[test]
    fn a_wrong_list_gets_the_words_of_etcd() {
        for (text, message) in [
            ("Foo=true", "unrecognized feature gate: Foo"),
            ("CompactHashCheck", "missing bool value for CompactHashCheck"),
            (
                "CompactHashCheck=maybe",
                "invalid value of CompactHashCheck=maybe, err: strconv.ParseBool: parsing \
                 \"maybe\": invalid syntax",
            ),
        ] {
            assert_eq!(FeatureGates::parse(text).expect_err(text).to_string(), message);
        }
    }
}
