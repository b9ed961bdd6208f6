//! From the command line to requests that only have to be sent.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::args::{Args, InputArgs, Protocol};
use super::beside;
use super::client::Client;
use super::expected::Expected;
use super::inputs::{self, Case, Declared, Shapes, Source};
use super::metadata::{self, Metadata};
use super::payload::{Payload, RequestForm};
use super::requests::{PickingOrder, Prepared, Requests};
use super::site::{Site, Wire};

/// Ready to be sent.
pub(super) struct Ready {
    pub(super) requests: Requests,
    /// The server's name and version.
    pub(super) server: Option<String>,
}

/// The server, and the protocol of its connections.
pub(super) fn site(args: &Args) -> Result<Site> {
    let site = Site::resolve(&args.url, args.header.clone())?;
    match (args.protocol, site.wire()) {
        (Some(Protocol::Grpc), Wire::Http1) => Ok(site.over_grpc()),
        (Some(Protocol::Oip | Protocol::Torchserve | Protocol::KserveV1 | Protocol::Plain), Wire::Http2) => {
            bail!("'{}' is gRPC's, and --protocol another: give one of them", args.url)
        }
        _ => Ok(site),
    }
}

pub(super) async fn prepare(args: &Args, site: &Arc<Site>) -> Result<Ready> {
    let protocol = match site.wire() {
        Wire::Http2 => Some(Protocol::Grpc),
        Wire::Http1 => args.protocol,
    };
    if !args.inputs.body.is_empty() {
        ensure!(site.wire() == Wire::Http1, "--body is posted over HTTP; gRPC takes tensors");
        return Ok(Ready { requests: bodies(args, protocol, site)?, server: None });
    }
    let mut client = Client::connect(Arc::clone(site), args.bounds.timeout).await?;
    let metadata = declared(args, site, &mut client).await?;
    let model = args.model.as_deref().unwrap_or_default();
    let cases = inputs::cases(&metadata, &source(&args.inputs, args.load.seed))
        .with_context(|| format!("cannot make inputs for model '{model}'"))?;
    let requests = tensors(args, protocol.unwrap_or(Protocol::Oip), site, cases)?;
    // A server that was asked for metadata is also asked for its version.
    let told = args.inputs.input.is_empty();
    let server = if told { metadata::server(&mut client, site).await } else { None };
    Ok(Ready { requests, server })
}

async fn declared(args: &Args, site: &Site, client: &mut Client) -> Result<Metadata> {
    if !args.inputs.input.is_empty() {
        let inputs = args.inputs.input.iter().map(Declared::input).collect();
        return Ok(Metadata { inputs, outputs: Vec::new() });
    }
    let model = args.model.as_deref().context("--model, --input or --body is needed")?;
    metadata::fetch(client, site, model).await
}

fn source(inputs: &InputArgs, seed: u64) -> Source<'_> {
    // A shape of --shape takes precedence over one of --input.
    let given = inputs.shape.iter().chain(inputs.input.iter().map(Declared::shape));
    Source {
        shapes: Shapes::new(given, inputs.batch),
        files: &inputs.input_file,
        data: inputs.input_data.as_deref(),
        filling: inputs.fill,
        variants: inputs.variants.get(),
        seed,
    }
}

/// A request for each case.
fn tensors(args: &Args, protocol: Protocol, site: &Site, cases: Vec<Case>) -> Result<Requests> {
    let form = match protocol {
        Protocol::Oip => RequestForm::Oip(args.inputs.format),
        Protocol::Grpc => RequestForm::Grpc,
        Protocol::KserveV1 => RequestForm::KserveV1,
        Protocol::Torchserve | Protocol::Plain => RequestForm::Named,
    };
    let model = args.model.as_deref();
    let path = path(args, Some(protocol), site)?;
    let order = if args.inputs.input_data.is_some() { PickingOrder::InTurn } else { PickingOrder::Random };
    let prepared = cases.into_iter().map(|Case { inputs, expected }| {
        let payload = Payload::infer(&inputs, form, site, &path, model.unwrap_or_default())?;
        let expected = (!expected.is_empty()).then(|| Expected::tensors(expected, args.inputs.tolerance));
        Ok(Prepared { payload, expected })
    });
    Requests::new(prepared.collect::<Result<_>>()?, order)
}

/// Where requests go.
fn path(args: &Args, protocol: Option<Protocol>, site: &Site) -> Result<String> {
    if let Some(path) = &args.inputs.path {
        return Ok(path.clone());
    }
    let model =
        || args.model.as_deref().context("this protocol's path names the model: give --model, or --path");
    Ok(match protocol {
        Some(Protocol::Oip) => format!("/v2/models/{}/infer", model()?),
        Some(Protocol::Grpc) => {
            model()?;
            String::new()
        }
        Some(Protocol::Torchserve) => format!("/predictions/{}", model()?),
        Some(Protocol::KserveV1) => format!("/v1/models/{}:predict", model()?),
        Some(Protocol::Plain) => site.body_path(None, None),
        None => site.body_path(None, args.model.as_deref()),
    })
}

/// A request for each file.
fn bodies(args: &Args, protocol: Option<Protocol>, site: &Site) -> Result<Requests> {
    let path = path(args, protocol, site)?;
    let mut files: Vec<PathBuf> = Vec::new();
    for body in &args.inputs.body {
        files.extend(inputs::files_in(body)?);
    }
    files.retain(|file| !beside::is_expected(file));
    let prepared = files.iter().map(|file| {
        let payload = Payload::file(file, site, &path)?;
        let expected = beside::expected(file, args.inputs.tolerance)?;
        Ok(Prepared { payload, expected })
    });
    let prepared: Vec<Prepared> = prepared.collect::<Result<_>>()?;
    Requests::new(prepared, PickingOrder::InTurn).context("--body names an empty folder")
}
