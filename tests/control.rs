//! Models that come, change and go while they serve, against a mock that adds
//! the number in its file to its input.
// A test may say what it expects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// What blocks runs beside the test, once.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cresset::context::RequestContext;
use cresset::engine::{Control, ControlMode, Engine, Follower, LoadMarks, LoadReport, Loader};
use cresset::error::{Error, ErrorCode};
use cresset::metrics;
use cresset::model::{QueueBounds, Resources};
use cresset::model_repository::{Access, ModelRepository};
use cresset::transform::Pool;
use cresset_backend::mock::{Behaviour, MockBackend};
use cresset_backend::{Accelerators, ComputeCapability};
use cresset_protocol::{Datatype, IndexRequest, InferenceRequest, LoadParameters, Tensor, UnloadParameters};
use tempfile::TempDir;

const CONFIG: &str = r#"
    max_batch_size: 8
    input [ { name: "x" data_type: TYPE_UINT8 dims: [ 1 ] } ]
    output [ { name: "y" data_type: TYPE_UINT8 dims: [ 1 ] } ]
    instance_group [ { count: 1 kind: KIND_CPU } ]
    dynamic_batching { }
"#;

/// An engine over directories of its own.
struct House {
    backend: MockBackend,
    roots: Vec<TempDir>,
    loader: Arc<Loader>,
    engine: Arc<Engine>,
}

impl House {
    /// One repository of these files, each a path and its text.
    fn new(mode: ControlMode, files: &[(&str, &str)]) -> Self {
        let house = Self::of_roots(mode, 1, files);
        assert_eq!(house.loader.repository().names().unwrap(), house.names(), "every one has a directory");
        house
    }

    fn of_roots(mode: ControlMode, count: usize, files: &[(&str, &str)]) -> Self {
        let backend = MockBackend::new(Behaviour::AddsFile, &["x"]);
        Self::on(backend, Accelerators::None("none in this test".to_owned()), mode, count, files)
    }

    fn on(
        backend: MockBackend,
        accelerators: Accelerators,
        mode: ControlMode,
        count: usize,
        files: &[(&str, &str)],
    ) -> Self {
        let roots: Vec<TempDir> = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
        let paths: Vec<PathBuf> = roots.iter().map(|root| root.path().to_owned()).collect();
        let resources = Resources { accelerators, ..Resources::of_processors(2) };
        let repository = ModelRepository::open_for_change(&paths, &Access::default()).unwrap();
        let loader =
            Loader::new(repository, Arc::new(backend.clone()), resources, QueueBounds::of_requests(1000))
                .unwrap();
        let loader = Arc::new(loader);
        let control = Control::new(mode, Ipv4Addr::LOCALHOST.into());
        let engine = Engine::new(Pool::new(1, 100).unwrap(), None, Arc::clone(&loader), control);
        let house = Self { backend, roots, loader, engine: Arc::new(engine) };
        files.iter().for_each(|(path, text)| house.write(path, text));
        house
    }

    fn at(&self, path: &str) -> PathBuf {
        self.roots[0].path().join(path)
    }

    /// A file of the first repository; a model gets a configuration with its
    /// first file.
    fn write(&self, path: &str, text: &str) {
        let file = self.at(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let config = self.at(path.split('/').next().unwrap()).join("config.pbtxt");
        if !config.exists() {
            fs::write(config, CONFIG).unwrap();
        }
        // As a careful copy does it: whole or not at all.
        let next = file.with_file_name("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, file).unwrap();
    }

    fn configure(&self, model: &str, more: &str) {
        self.write(&format!("{model}/config.pbtxt"), &format!("{CONFIG}\n{more}"));
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.roots[0].path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Loads these, as at start.
    async fn start(&self, names: &[&str]) -> LoadReport {
        let (loader, engine) = (Arc::clone(&self.loader), Arc::clone(&self.engine));
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let started = tokio::task::spawn_blocking(move || {
            let report = loader.start(&names);
            engine.finish_loading();
            report
        });
        started.await.unwrap()
    }

    async fn load(&self, name: &str) -> Result<(), Error> {
        self.engine.load_model(name, LoadParameters::default()).await
    }

    async fn unload(&self, name: &str) {
        self.engine.unload_model(name, UnloadParameters::default()).await.unwrap();
    }

    async fn ask(&self, version: Option<u64>, value: u8) -> Result<(u64, u8), Error> {
        ask(&self.engine, version, value).await
    }

    /// The index in a line.
    async fn index(&self) -> String {
        let index = self.engine.repository_index(IndexRequest::default()).await.unwrap();
        let shown = index.into_iter().map(|entry| {
            let reason = if entry.reason.is_empty() { String::new() } else { format!(" ({})", entry.reason) };
            format!("{}/{} {}{reason}", entry.name, entry.version, entry.state.name())
        });
        shown.collect::<Vec<_>>().join("; ")
    }

    /// Waits until the index is so.
    async fn settles(&self, expected: &str) {
        for _ in 0..1000 {
            if self.index().await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(self.index().await, expected);
    }
}

/// Asks the model `m`: the version that answered, and its answer.
async fn ask(engine: &Engine, version: Option<u64>, value: u8) -> Result<(u64, u8), Error> {
    let input = Tensor {
        name: Arc::from("x"),
        datatype: Datatype::Uint8,
        shape: vec![1, 1],
        data: Bytes::from(vec![value]),
    };
    let request = InferenceRequest { inputs: vec![input], ..InferenceRequest::default() };
    let model = engine.resolve("m", version)?;
    let response = engine.infer(RequestContext::default(), &model, request).await?;
    Ok((response.model_version, response.outputs[0].data[0]))
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (ErrorCode, String) {
    let error = result.unwrap_err();
    (error.code(), error.message().to_owned())
}

#[tokio::test]
async fn a_gpu_of_a_generation_that_has_a_file_of_its_own_gets_that() {
    let files = [("m/1/model.pt", "1"), ("m/1/ampere.pt", "2"), ("m/config.pbtxt", "replaced below")];
    let names = "cc_model_filenames [ { key: '8.0' value: 'ampere.pt' }, { key: '7.5' value: 'gone.pt' } ]";
    let capability = |text: &str| ComputeCapability::parse(text).unwrap();
    let on = async |gpus: &[&str], group: &str| {
        let gpus: Vec<ComputeCapability> = gpus.iter().map(|gpu| capability(gpu)).collect();
        let backend = MockBackend::new(Behaviour::AddsFile, &["x"]).with_capabilities(&gpus);
        let accelerators = match u32::try_from(gpus.len()).unwrap() {
            0 => Accelerators::None("none in this test".to_owned()),
            count => Accelerators::cuda(count),
        };
        let house = House::on(backend, accelerators, ControlMode::Explicit, 1, &files);
        let config = CONFIG.replace("count: 1 kind: KIND_CPU", group);
        house.write("m/config.pbtxt", &format!("{config}{names}"));
        let answer = match house.load("m").await {
            Ok(()) => house.ask(None, 10).await.map(|(_, answer)| answer),
            Err(error) => Err(error),
        };
        answer.map_err(|error| error.message().to_owned())
    };
    assert_eq!(on(&[], "").await, Ok(11), "processors have the default");
    assert_eq!(on(&["8.0", "8.0"], "").await, Ok(12));
    assert_eq!(on(&["9.0"], "").await, Ok(11), "so has a GPU of another generation");
    assert_eq!(on(&["8.0"], "kind: KIND_CPU").await, Ok(11));
    assert_eq!(on(&["8.0"], "kind: KIND_MODEL").await, Ok(11));
    assert_eq!(on(&["8.0", "9.0"], "kind: KIND_GPU gpus: [ 0 ]").await, Ok(12));
    let missing = on(&["7.5"], "").await.unwrap_err();
    assert!(missing.contains("version 1 is at UNAVAILABLE state: '1/gone.pt' is missing;"), "{missing}");
    let differ = on(&["8.0", "9.0"], "").await.unwrap_err();
    assert!(
        differ.contains("cc_model_filenames has 'ampere.pt' for cuda:0 and 'model.pt' for cuda:1: "),
        "{differ}"
    );
}

#[tokio::test]
async fn a_model_is_loaded_reloaded_and_unloaded_on_demand() {
    let house = House::new(ControlMode::Explicit, &[("m/1/model.pt", "10"), ("other/1/model.pt", "1")]);
    assert_eq!(house.start(&[]).await, LoadReport::default());
    assert!(house.engine.ready(), "nothing is waited for");
    assert_eq!(house.index().await, "m/ UNAVAILABLE (not loaded); other/ UNAVAILABLE (not loaded)");
    let unknown = "Request for unknown model: 'm' is not found".to_owned();
    assert_eq!(refusal(house.ask(None, 1).await), (ErrorCode::NotFound, unknown));

    house.load("m").await.unwrap();
    assert_eq!(house.ask(None, 1).await.unwrap(), (1, 11));
    assert_eq!(house.index().await, "m/1 READY; other/ UNAVAILABLE (not loaded)");
    let ready = house.engine.repository_index(IndexRequest { ready: true }).await.unwrap();
    assert_eq!(ready.len(), 1);

    // Nothing was changed: the same object goes on.
    let before = house.engine.resolve("m", None).unwrap();
    house.load("m").await.unwrap();
    assert!(Arc::ptr_eq(&before, &house.engine.resolve("m", None).unwrap()));
    house.write("m/1/model.pt", "20");
    assert_eq!(house.ask(None, 1).await.unwrap(), (1, 11), "explicit: not before it is asked for");
    house.load("m").await.unwrap();
    assert_eq!(house.ask(None, 1).await.unwrap(), (1, 21));
    assert_eq!(house.backend.control().released(), 0, "somebody holds the old one");
    drop(before);
    house.backend.control().wait_until_released(1);

    house.unload("m").await;
    let none = "Request for unknown model: 'm' has no available versions".to_owned();
    assert_eq!(refusal(house.ask(None, 1).await), (ErrorCode::NotFound, none));
    house.backend.control().wait_until_released(2);
    house.settles("m/1 UNAVAILABLE (unloaded); other/ UNAVAILABLE (not loaded)").await;
    assert!(house.engine.ready(), "as with Triton, what was unloaded isn't missed");
    house.unload("m").await;
    house.unload("nowhere").await;
    house.load("m").await.unwrap();
    assert_eq!(house.ask(Some(1), 1).await.unwrap(), (1, 21));
}

#[tokio::test]
async fn what_cannot_be_loaded_says_why_and_takes_nothing_away() {
    let house = House::new(ControlMode::Explicit, &[("m/1/model.pt", "10"), ("broken/1/model.pt", "zip")]);
    house.start(&["m"]).await;
    let broken = "load failed for model 'broken': version 1 is at UNAVAILABLE state: \
                  the file holds 'zip': expected a number; versions that answer: none";
    assert_eq!(refusal(house.load("broken").await), (ErrorCode::InvalidArgument, broken.to_owned()));
    assert!(house.engine.ready(), "what fails while serving takes no readiness away");
    let missing =
        "failed to load 'nope', failed to poll from model repository: it has no directory of that name";
    assert_eq!(refusal(house.load("nope").await), (ErrorCode::Internal, missing.to_owned()));
    for name in ["", "..", "../m", "m/1"] {
        assert_eq!(refusal(house.load(name).await).0, ErrorCode::InvalidArgument, "{name}");
    }
    assert_eq!(refusal(house.load("lost+found").await).0, ErrorCode::Internal);

    // A new version that is broken, and a policy that would have it alone.
    house.write("m/2/model.pt", "half a fi");
    let (_, message) = refusal(house.load("m").await);
    assert!(message.ends_with("expected a number; versions that answer: 1"), "{message}");
    assert_eq!(house.ask(None, 1).await.unwrap(), (1, 11));
    let reason = "UNAVAILABLE (the file holds 'half a fi': expected a number)";
    let rest = "broken/1 UNAVAILABLE (the file holds 'zip': expected a number); m/1 READY";
    assert_eq!(house.index().await, format!("{rest}; m/2 {reason}"));
    let (code, message) = refusal(house.ask(Some(2), 1).await);
    assert_eq!(code, ErrorCode::Unavailable);
    let unready = "Request for unknown model: 'm' version 2 is not at ready state";
    assert!(message.starts_with(&format!("{unready}: version 2: the file holds")), "{message}");

    // The served version's own file, and its configuration.
    fs::remove_dir_all(house.at("m/2")).unwrap();
    house.write("m/1/model.pt", "junk");
    assert!(house.load("m").await.is_err());
    let told = "m/1 READY (serving as before: the file holds 'junk': expected a number)";
    assert!(house.index().await.ends_with(told), "{}", house.index().await);
    house.write("m/1/model.pt", "30");
    house.configure("m", "max_batch_sise: 3");
    let (_, message) = refusal(house.load("m").await);
    assert!(message.contains("max_batch_sise") && message.ends_with("versions that answer: 1"), "{message}");
    assert!(house.index().await.contains("m/1 READY (serving as before: config.pbtxt:"));
    assert_eq!(house.ask(None, 1).await.unwrap(), (1, 11), "all the while");
    house.configure("m", "");
    house.load("m").await.unwrap();
    assert_eq!(house.ask(None, 1).await.unwrap(), (1, 31));
    assert!(house.index().await.ends_with("m/1 READY"));
}

#[tokio::test]
async fn versions_come_and_go_as_the_policy_says() {
    let files = [("m/1/model.pt", "10"), ("m/2/model.pt", "20"), ("m/3/model.pt", "30")];
    let house = House::new(ControlMode::Explicit, &files);
    house.start(&["m"]).await;
    assert_eq!(house.index().await, "m/3 READY");
    house.configure("m", "version_policy { all { } }");
    house.load("m").await.unwrap();
    for version in 1..=3 {
        assert_eq!(house.ask(Some(version), 1).await.unwrap(), (version, version as u8 * 10 + 1));
    }
    house.configure("m", "version_policy { specific { versions: [ 1, 3 ] } }");
    house.load("m").await.unwrap();
    house.settles("m/1 READY; m/2 UNAVAILABLE (unloaded); m/3 READY").await;
    let (code, message) = refusal(house.ask(Some(2), 1).await);
    assert_eq!(
        (code, &*message),
        (ErrorCode::NotFound, "Request for unknown model: 'm' version 2 is not at ready state; served: 1, 3")
    );
    let first = house.engine.resolve("m", Some(1)).unwrap();
    // Files that no served version is made of change nothing.
    house.write("m/2/model.pt", "22");
    house.write("m/notes.txt", "");
    house.load("m").await.unwrap();
    assert!(Arc::ptr_eq(&first, &house.engine.resolve("m", Some(1)).unwrap()));
    house.configure("m", "version_policy { latest { num_versions: 2 } }");
    house.write("m/4/model.pt", "40");
    house.load("m").await.unwrap();
    drop(first);
    house.settles("m/1 UNAVAILABLE (unloaded); m/2 UNAVAILABLE (unloaded); m/3 READY; m/4 READY").await;
    // A version whose directory is gone is known only in the error for a client
    // that asks for it.
    fs::remove_dir_all(house.at("m/4")).unwrap();
    fs::remove_dir_all(house.at("m/1")).unwrap();
    house.load("m").await.unwrap();
    house.settles("m/2 READY; m/3 READY").await;
    assert_eq!(house.ask(Some(2), 1).await.unwrap(), (2, 23));
    for (version, what) in [(1, "is not at ready state"), (4, "is not at ready state"), (9, "is not found")] {
        let told = format!("Request for unknown model: 'm' version {version} {what}; served: 2, 3");
        assert_eq!(refusal(house.ask(Some(version), 1).await), (ErrorCode::NotFound, told));
    }
    // And a model whose directory is gone is no model.
    fs::remove_dir_all(house.at("m")).unwrap();
    assert!(house.load("m").await.is_err());
    house.settles("").await;
    let gone = "Request for unknown model: 'm' has no available versions".to_owned();
    assert_eq!(refusal(house.ask(None, 1).await), (ErrorCode::NotFound, gone));
}

#[tokio::test]
async fn a_configuration_that_comes_with_the_call_stands_until_the_next() {
    let house = House::new(ControlMode::Explicit, &[("m/1/model.pt", "10"), ("m/2/model.pt", "20")]);
    house.start(&["m"]).await;
    let given = |config: &str| LoadParameters { config: Some(config.to_owned()), files: Vec::new() };
    let config = r#"{"max_batch_size": 4, "version_policy": {"specific": {"versions": [1]}},
        "input": [{"name": "x", "data_type": "TYPE_UINT8", "dims": [1]}],
        "output": [{"name": "y", "data_type": "TYPE_UINT8", "dims": [1]}]}"#;
    house.engine.load_model("m", given(config)).await.unwrap();
    assert_eq!(house.ask(None, 1).await.unwrap(), (1, 11));
    assert_eq!(house.engine.resolve("m", None).unwrap().max_batch_size(), 4);
    let (code, message) = refusal(house.engine.load_model("m", given("{\"max_batch_size\": -1}")).await);
    assert_eq!(code, ErrorCode::InvalidArgument);
    assert_eq!(
        message,
        "failed to load 'm', failed to poll from model repository: Invalid config override: config: field 'max_batch_size': \
         expected 0 or more, got -1; versions that answer: 1"
    );
    assert_eq!(house.ask(None, 1).await.unwrap(), (1, 11));
    house.settles("m/1 READY; m/2 UNAVAILABLE (unloaded)").await;
    house.load("m").await.unwrap();
    assert_eq!(house.ask(None, 1).await.unwrap(), (2, 21), "the file's again");
    let files = LoadParameters { config: Some("{}".to_owned()), files: vec!["file:1/model.pt".to_owned()] };
    let (code, message) = refusal(house.engine.load_model("m", files).await);
    assert_eq!(code, ErrorCode::Unimplemented);
    assert!(message.starts_with("load parameter 'file:1/model.pt': "), "{message}");
}

#[tokio::test]
async fn a_model_that_is_being_loaded_holds_nobody_up() {
    let house = House::new(ControlMode::Explicit, &[("m/1/model.pt", "10"), ("slow/1/model.pt", "1")]);
    house.start(&["m"]).await;
    let hand = Arc::clone(house.backend.control());
    // A request would wait at the gate as well; so none is sent meanwhile.
    hand.close_gate();
    let engine = Arc::clone(&house.engine);
    let slow = tokio::spawn(async move { engine.load_model("slow", LoadParameters::default()).await });
    house.settles("m/1 READY; slow/1 LOADING").await;
    let loading = "model 'slow' is being loaded";
    assert_eq!(
        refusal(house.engine.resolve("slow", None).map(|_| ())),
        (ErrorCode::Unavailable, loading.to_owned())
    );
    assert!(house.engine.ready());
    // The same model waits for its turn, another doesn't.
    let engine = Arc::clone(&house.engine);
    let again = tokio::spawn(async move { engine.unload_model("slow", UnloadParameters::default()).await });
    house.load("m").await.unwrap();
    house.unload("m").await;
    // It waits at the gate, too, if one of its own runs is still under way.
    let index = house.index().await;
    let either = ["m/1 UNLOADING; slow/1 LOADING", "m/1 UNAVAILABLE (unloaded); slow/1 LOADING"];
    assert!(either.contains(&index.as_str()), "{index}");
    assert!(!again.is_finished());
    hand.open_gate();
    slow.await.unwrap().unwrap();
    again.await.unwrap().unwrap();
    house.settles("m/1 UNAVAILABLE (unloaded); slow/1 UNAVAILABLE (unloaded)").await;
}

#[tokio::test]
async fn who_waits_for_a_load_is_told_when_the_server_stops() {
    let house = House::new(ControlMode::Explicit, &[("m/1/model.pt", "10")]);
    house.start(&[]).await;
    house.backend.control().close_gate();
    let engine = Arc::clone(&house.engine);
    let loading = tokio::spawn(async move { engine.load_model("m", LoadParameters::default()).await });
    house.settles("m/1 LOADING").await;
    house.engine.drain();
    let stopping = "the server is stopping".to_owned();
    assert_eq!(refusal(loading.await.unwrap()), (ErrorCode::Unavailable, stopping));
    house.backend.control().open_gate();
}

#[tokio::test]
async fn polling_follows_the_repository_and_survives_what_is_half_there() {
    let house = House::new(ControlMode::Poll, &[("m/1/model.pt", "10")]);
    let watch = Follower::begin(Arc::clone(&house.loader), &["m".to_owned()]);
    let watch = Arc::new(std::sync::Mutex::new(watch));
    let look = || {
        let watch = Arc::clone(&watch);
        async move { tokio::task::spawn_blocking(move || watch.lock().unwrap().look()).await.unwrap() }
    };
    house.start(&["m"]).await;
    look().await;
    assert_eq!(house.ask(None, 1).await.unwrap(), (1, 11));
    let first = house.engine.resolve("m", None).unwrap();
    look().await;
    assert!(Arc::ptr_eq(&first, &house.engine.resolve("m", None).unwrap()), "nothing was changed");

    // A copy that is under way: a directory, then a piece of the file, then all.
    fs::create_dir(house.at("m/2")).unwrap();
    look().await;
    house.settles("m/1 READY; m/2 UNAVAILABLE ('2/model.pt' is missing)").await;
    fs::write(house.at("m/2/model.pt"), "2.").unwrap();
    look().await;
    house.settles("m/1 READY; m/2 UNAVAILABLE (the file holds '2.': expected a number)").await;
    assert!(house.engine.ready(), "the one before answers");
    assert_eq!(house.ask(None, 1).await.unwrap(), (1, 11));
    drop(first);
    fs::write(house.at("m/2/model.pt"), "20").unwrap();
    look().await;
    assert_eq!(house.ask(None, 1).await.unwrap(), (2, 21));
    house.settles("m/1 UNAVAILABLE (unloaded); m/2 READY").await;

    house.write("new/1/model.pt", "1");
    fs::remove_dir_all(house.at("m")).unwrap();
    look().await;
    house.settles("new/1 READY").await;
    fs::remove_dir_all(house.roots[0].path()).unwrap();
    look().await;
    assert_eq!(house.index().await, "new/1 READY", "a repository that can't be read is left as it was");
    let refused = refusal(house.load("new").await);
    assert_eq!(refused.0, ErrorCode::Unavailable);
}

#[tokio::test]
async fn a_lock_holds_every_file_to_its_sum_and_a_right_one_is_followed() {
    let house = House::new(ControlMode::Poll, &[("m/1/model.pt", "10"), ("m/2/model.pt", "20")]);
    // As `sha256sum` writes it.
    let lock = |paths: &[&str]| {
        let line = |path: &&str| {
            format!(
                "{:x}  {path}\n",
                <sha2::Sha256 as sha2::Digest>::digest(fs::read(house.at(path)).unwrap())
            )
        };
        fs::write(house.at("models.lock"), paths.iter().map(line).collect::<String>()).unwrap();
    };
    lock(&["m/1/model.pt", "m/2/model.pt"]);
    let watch = Follower::begin(Arc::clone(&house.loader), &["m".to_owned()]);
    let watch = Arc::new(std::sync::Mutex::new(watch));
    let look = || {
        let watch = Arc::clone(&watch);
        async move { tokio::task::spawn_blocking(move || watch.lock().unwrap().look()).await.unwrap() }
    };
    let report = house.start(&["m"]).await;
    let unlisted = "models.lock doesn't list 'm/config.pbtxt': add the line that sha256sum writes for it, or remove \
                    models.lock";
    assert_eq!(report.failed, [format!("m: {unlisted}")]);
    // A right lock is noticed by itself, and files that aren't as it says don't come in.
    lock(&["m/config.pbtxt", "m/1/model.pt", "m/2/model.pt"]);
    look().await;
    assert_eq!(house.ask(None, 1).await.unwrap(), (2, 21));
    fs::write(house.at("m/2/model.pt"), "21").unwrap();
    look().await;
    let index = house.index().await;
    assert!(index.contains("'m/2/model.pt' isn't the file that models.lock lists"), "{index}");
    assert_eq!(house.ask(None, 1).await.unwrap(), (2, 21));
    lock(&["m/config.pbtxt", "m/2/model.pt"]);
    look().await;
    assert_eq!(house.ask(None, 1).await.unwrap(), (2, 22));
    fs::remove_file(house.at("models.lock")).unwrap();
    fs::write(house.at("m/2/model.pt"), "30").unwrap();
    look().await;
    assert_eq!(house.ask(None, 1).await.unwrap(), (2, 31));
}

#[tokio::test]
async fn a_name_in_two_repositories_is_refused_and_what_serves_goes_on() {
    let house = House::of_roots(ControlMode::Explicit, 2, &[("m/1/model.pt", "10"), ("x/1/model.pt", "1")]);
    house.start(&["m"]).await;
    for name in ["m", "x"] {
        fs::create_dir(house.roots[1].path().join(name)).unwrap();
    }
    let both = house.loader.repository().entry("m", None).unwrap_err().to_string();
    for root in &house.roots {
        assert!(both.contains(root.path().to_str().unwrap()), "both places: {both}");
    }
    let (code, message) = refusal(house.load("m").await);
    assert_eq!(code, ErrorCode::InvalidArgument);
    assert_eq!(
        message,
        "failed to load 'm', failed to poll from model repository: model appears in two or more repositories: the server's log names them; \
         versions that answer: 1"
    );
    assert_eq!(house.ask(None, 1).await.unwrap(), (1, 11));
    let index = house.index().await;
    assert!(index.starts_with("m/1 READY (serving as before: model appears in two"), "{index}");
    assert!(index.ends_with("x/ UNAVAILABLE (model appears in two or more repositories)"), "{index}");
}

#[tokio::test]
async fn the_server_waits_for_what_should_be_there_from_the_start() {
    let house = House::new(ControlMode::Explicit, &[("good/1/model.pt", "1"), ("m/1/model.pt", "x")]);
    let report = house.start(&["good", "m"]).await;
    assert_eq!(report.failed, ["m: version 1: the file holds 'x': expected a number"]);
    assert!(!house.engine.ready());
    house.write("m/1/model.pt", "10");
    house.load("m").await.unwrap();
    assert!(house.engine.ready(), "it is there now");
    house.write("m/1/model.pt", "x");
    assert!(house.load("m").await.is_err());
    assert!(house.engine.ready(), "and isn't waited for again");
}

/// A loader on the repository of `house` whose process has just taken the place of
/// one that died while it loaded version 1 of each of `marked`.
fn after_a_death(house: &House, state: &TempDir, marked: &[&str]) -> Arc<Loader> {
    let roots: Vec<PathBuf> = house.roots.iter().map(|root| root.path().to_owned()).collect();
    let marks = LoadMarks::open(Some(state.path()), &roots);
    let directory = fs::read_dir(state.path()).unwrap().next().unwrap().unwrap().path();
    for model in marked {
        fs::write(directory.join(model), format!("1 {model}")).unwrap();
    }
    let repository = ModelRepository::open(&roots, &Access::default()).unwrap();
    let loader = Loader::new(
        repository,
        Arc::new(house.backend.clone()),
        Resources::of_processors(2),
        QueueBounds::of_requests(1000),
    )
    .unwrap();
    Arc::new(loader.with_marks(marks))
}

#[tokio::test]
async fn what_was_being_loaded_when_the_process_died_is_left_out_once_or_loaded_last() {
    let files = [("a/1/model.pt", "1"), ("b/1/model.pt", "1"), ("b/2/model.pt", "2"), ("m/1/model.pt", "10")];
    let house = House::new(ControlMode::Explicit, &files);
    house.configure("b", "version_policy { all { } }");
    let state = tempfile::tempdir().unwrap();
    let names = ["a", "b", "m"].map(str::to_owned);
    let start = move |loader: Arc<Loader>| {
        let report = loader.start(&names);
        let first = |line: &String| line.split(':').next().unwrap().to_owned();
        (report.served.iter().map(first).collect::<Vec<_>>(), report.failed, report.left_out)
    };
    // One alone is to blame: the version, not the model.
    let loader = after_a_death(&house, &state, &["b"]);
    let (control, pool) =
        (Control::new(ControlMode::Explicit, Ipv4Addr::LOCALHOST.into()), Pool::new(1, 100).unwrap());
    let engine = Engine::new(pool, None, Arc::clone(&loader), control);
    let (engine, (served, failed, left_out)) = tokio::task::spawn_blocking({
        let start = start.clone();
        move || (engine, start(loader))
    })
    .await
    .unwrap();
    assert_eq!(served, ["a version 1", "b version 2", "m version 1"]);
    let why = "b: version 1: it was being loaded when the server's last process ended, so this start leaves it out: ";
    assert!(failed.len() == 1 && failed[0].starts_with(why) && left_out, "{failed:?}");
    let index = engine.repository_index(IndexRequest::default()).await.unwrap();
    let entry = index.iter().find(|entry| entry.name == "b" && entry.version == "1").unwrap();
    assert!(entry.reason.starts_with("it was being loaded"), "{}", entry.reason);
    // A call loads it.
    engine.load_model("b", LoadParameters::default()).await.unwrap();
    assert!(engine.resolve("b", Some(1)).is_ok());
    // So does the next start.
    let all = ["a version 1", "b version 1", "b version 2", "m version 1"];
    let loader = after_a_death(&house, &state, &[]);
    let again = tokio::task::spawn_blocking({
        let start = start.clone();
        move || start(loader)
    });
    assert_eq!(again.await.unwrap(), (all.map(str::to_owned).to_vec(), vec![], false));
    // Of several any may be to blame.
    let loader = after_a_death(&house, &state, &["a", "b"]);
    let (served, failed, left_out) = tokio::task::spawn_blocking(move || start(loader)).await.unwrap();
    assert_eq!(served, ["m version 1", "a version 1", "b version 1", "b version 2"]);
    assert_eq!((failed, left_out), (vec![], false));
}

#[tokio::test]
async fn statistics_and_series_go_with_their_version() {
    let house = House::new(ControlMode::Explicit, &[("m/77/model.pt", "10")]);
    house.start(&["m"]).await;
    house.ask(None, 1).await.unwrap();
    let series = || String::from_utf8(metrics::render()).unwrap().matches("version=\"77\"").count();
    assert!(series() > 10);
    assert_eq!(house.engine.statistics().len(), 1);
    house.unload("m").await;
    assert_eq!(house.engine.statistics().len(), 0);
    house.backend.control().wait_until_released(1);
    assert_eq!(series(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_is_lost_or_answered_wrongly_while_versions_change() {
    let house = House::new(ControlMode::Explicit, &[("m/1/model.pt", "10"), ("m/2/model.pt", "20")]);
    house.configure("m", "version_policy { all { } }");
    house.start(&["m"]).await;
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8u8)
        .map(|client| {
            let (engine, over) = (Arc::clone(&house.engine), Arc::clone(&over));
            // Half of them ask for a version that comes and goes.
            let version = (client % 2 == 0).then_some(2);
            tokio::spawn(async move {
                let (mut answered, mut unknown) = (0u64, 0u64);
                while !over.load(Ordering::Acquire) {
                    let value = (answered % 7) as u8 + client;
                    match ask(&engine, version, value).await {
                        // Version v adds 10 v, and 1 more after each change.
                        Ok((by, answer)) => {
                            let added = answer - value;
                            assert!(added / 10 == by as u8 && added % 10 < 10, "{by} added {added}");
                            answered += 1;
                        }
                        Err(error) => {
                            assert_eq!(version, Some(2), "{error}");
                            // Gone, or on its way in again.
                            let coming = error.message().ends_with("model 'm' is being loaded");
                            assert!(error.code() == ErrorCode::NotFound || coming, "{error}");
                            unknown += 1;
                            tokio::task::yield_now().await;
                        }
                    }
                }
                (answered, unknown)
            })
        })
        .collect();
    for round in 0..20 {
        house.write("m/1/model.pt", &(10 + round % 10).to_string());
        match round % 4 {
            0 => fs::remove_dir_all(house.at("m/2")).unwrap(),
            1 => house.write("m/2/model.pt", "20"),
            2 => house.write("m/2/model.pt", &(20 + round % 10).to_string()),
            _ => house.write("m/3/model.pt", "broken"),
        }
        let loaded = house.load("m").await;
        assert_eq!(loaded.is_err(), round % 4 == 3, "{loaded:?}");
        if round % 4 == 3 {
            fs::remove_dir_all(house.at("m/3")).unwrap();
        }
        assert_eq!(house.ask(Some(1), 1).await.unwrap(), (1, 11 + round % 10), "the new one answers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    over.store(true, Ordering::Release);
    let (mut answered, mut unknown) = (0, 0);
    for client in clients {
        let counts = client.await.unwrap();
        assert!(counts.0 > 0, "every client was answered");
        answered += counts.0;
        unknown += counts.1;
    }
    assert!(answered > 1000 && unknown > 0, "{answered} answered, {unknown} unknown");
    // 20 of version 1; of version 2 removed 5 times and changed 5 times.
    house.backend.control().wait_until_released(30);
}
