//! Models whose code is rewritten while they serve, against a mock that takes
//! processor time.
// A test may say what it expects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset::context::RequestContext;
use cresset::engine::{Control, ControlMode, Engine, Loader};
use cresset::model::{QueueBounds, Resources};
use cresset::model_repository::{Access, ModelRepository};
use cresset::transform::Pool;
use cresset_backend::mock::{Behaviour, MockBackend, Rewriting};
use cresset_backend::{Allows, FormatNames, ModelFiles, ModelFormat};
use cresset_protocol::{Datatype, InferenceRequest, Tensor};
use tempfile::TempDir;

const CONFIG: &str = r#"
    max_batch_size: 4
    input [ { name: "x" data_type: TYPE_UINT8 dims: [ 1 ] } ]
    output [ { name: "y" data_type: TYPE_UINT8 dims: [ 1 ] } ]
    instance_group [ { count: 2 kind: KIND_CPU } ]
    dynamic_batching { }
"#;

const MS: Duration = Duration::from_millis(1);

struct House {
    backend: MockBackend,
    engine: Arc<Engine>,
    _root: TempDir,
}

impl House {
    /// A server of one model that can be rewritten so.
    fn new(rewriting: Rewriting, settings: &str) -> Self {
        Self::of(MockBackend::new(Behaviour::AddsFile, &["x"]).rewriting(rewriting), settings)
    }

    fn of(backend: MockBackend, settings: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("m");
        fs::create_dir_all(model.join("1")).unwrap();
        fs::write(model.join("config.pbtxt"), CONFIG).unwrap();
        fs::write(model.join("cresset.toml"), settings).unwrap();
        fs::write(model.join("1/model.pt"), "1").unwrap();
        let resources = Resources::of_processors(2);
        let repository = ModelRepository::open(&[root.path().to_owned()], &Access::default()).unwrap();
        let loader = Arc::new(
            Loader::new(repository, Arc::new(backend.clone()), resources, QueueBounds::of_requests(100))
                .unwrap(),
        );
        let control = Control::new(ControlMode::None, Ipv4Addr::LOCALHOST.into());
        let engine = Arc::new(Engine::new(Pool::new(1, 100).unwrap(), None, Arc::clone(&loader), control));
        let report = std::thread::spawn(move || loader.start(&["m".to_owned()])).join().unwrap();
        assert_eq!(report.failed, [""; 0]);
        Self { backend, engine, _root: root }
    }

    async fn ask(&self, value: u8) -> u8 {
        let input = Tensor {
            name: Arc::from("x"),
            datatype: Datatype::Uint8,
            shape: vec![1, 1],
            data: Bytes::copy_from_slice(&[value]),
        };
        let request = InferenceRequest { inputs: vec![input], ..InferenceRequest::default() };
        let model = self.engine.resolve("m", None).unwrap();
        model.infer(RequestContext::default(), request).await.unwrap().outputs[0].data[0]
    }

    /// The rewritten form runs twelve times or so to be compared and warmed:
    /// whether it runs for more than that.
    async fn goes_over(&self) -> bool {
        for _ in 0..200 {
            let before = self.backend.control().rewritten();
            assert_eq!(self.ask(7).await, 8);
            tokio::time::sleep(10 * MS).await;
            // It is tried for well under a second.
            if before > 40 {
                return true;
            }
        }
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faster_form_takes_over_while_requests_are_answered() {
    let house = House::new(Rewriting { before: 4 * MS, after: MS, off: 0 }, "");
    assert!(house.goes_over().await, "{}", house.backend.control().rewritten());
    assert!(house.backend.control().released() >= 1, "the memory of the old form is given back");
    house.engine.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_answers_otherwise_or_is_no_faster_stays_out() {
    for rewriting in
        [Rewriting { before: 4 * MS, after: MS, off: 1 }, Rewriting { before: 2 * MS, after: 2 * MS, off: 0 }]
    {
        let house = House::new(rewriting, "");
        house.backend.control().wait_until_released(1);
        let tried = house.backend.control().rewritten();
        assert!(tried > 0);
        for value in 0..20 {
            assert_eq!(house.ask(value).await, value + 1);
        }
        assert_eq!(house.backend.control().rewritten(), tried, "{rewriting:?}");
        house.engine.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_settings_decide_is_not_tried() {
    for settings in ["[optimize]\nfor_inference = false\n", "[precision]\nweights = \"bf16\"\n"] {
        let house = House::new(Rewriting { before: MS, after: MS / 2, off: 0 }, settings);
        for value in 0..20 {
            assert_eq!(house.ask(value).await, value + 1);
        }
        assert_eq!(house.backend.control().rewritten(), 0, "{settings}");
        house.engine.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_format_does_not_allow_is_not_tried() {
    static FIXED: ModelFormat = ModelFormat {
        name: "Fixed",
        files: ModelFiles {
            default_filename: "",
            extensions: &[],
            rare_extensions: &[],
            mismatch: |_| None,
            whole: |_| Ok(()),
        },
        names: FormatNames { platform: "", backend: "", accepted: &[], runtime: "", instead_of_runtime: "" },
        switches: &[],
        allows: Allows { share: true, batch: true, freeze: true, rewrite: false },
    };
    let rewriting = Rewriting { before: MS, after: MS / 2, off: 0 };
    let backend = MockBackend::new(Behaviour::AddsFile, &["x"]).rewriting(rewriting).of_format(&FIXED);
    let house = House::of(backend, "");
    for value in 0..20 {
        assert_eq!(house.ask(value).await, value + 1);
    }
    assert_eq!(house.backend.control().rewritten(), 0);
    house.engine.stop();
}
