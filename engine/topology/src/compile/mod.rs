//! The compiler: texts in, a [`Topology`] or every problem out; no I/O, no clock, no environment.
//! It reads all files as far as it can, then checks across them, so that one run names all faults.

mod campaigns;
mod cross;
mod downstreams;
mod edges;
mod flow;
mod root;

use crate::interpolate::{Lookup, interpolate};
use crate::keys::Section;
use crate::limits::{CAMPAIGNS_MAX, SETTINGS_BYTES_MAX, VERSION};
use crate::model::Topology;
use crate::node::Node;
use crate::parse::parse;
use crate::problem::{Code, Fault, Problem, Problems, Reported};
use crate::source::{FileId, SourceText};
use crate::units::whole;
use crate::walk::{Fields, Subject, plain};

/// A file as it was read: its name for messages, and its text.
#[derive(Clone, Copy, Debug)]
pub struct File<'t> {
    /// Such as `topology.yaml` or `campaigns/spring-2027.yaml`.
    pub name: &'t str,
    /// The whole text.
    pub text: &'t str,
}

/// Compiles a topology and its campaigns. Campaigns are taken in the order of their names,
/// whatever order they are given in, so that equal files give an equal result.
///
/// # Errors
/// All problems, sorted by file (the topology first), line and column; never an empty list.
pub fn compile(
    topology: File<'_>,
    campaigns: &[File<'_>],
    lookup: &Lookup<'_>,
) -> Result<Topology, Vec<Problem>> {
    let mut campaigns = campaigns.to_vec();
    campaigns.sort_by_key(|file| file.name);
    let dropped = campaigns.len().saturating_sub(CAMPAIGNS_MAX);
    campaigns.truncate(CAMPAIGNS_MAX);
    let files = std::iter::once(&topology).chain(&campaigns);
    let mut problems = Problems::new(files.map(|file| SourceText::new(file.name, file.text)).collect());
    if dropped > 0 {
        let message = format!("there are more than {CAMPAIGNS_MAX} campaign files ({dropped} too many)");
        problems.report_file(FileId(0), Fault::new(Code::TooBig, message, "move finished campaigns away"));
    }
    let compiled = read_all(&mut problems, campaigns.len(), lookup);
    if let Some(mut again) = problems.second_look() {
        drop(read_all(&mut again, campaigns.len(), lookup));
        problems.add_second_look(again);
    }
    match compiled {
        Ok(topology) if problems.is_empty() => Ok(topology),
        _ => Err(problems.into_list()),
    }
}

fn read_all(
    problems: &mut Problems<'_>,
    campaigns: usize,
    lookup: &Lookup<'_>,
) -> Result<Topology, Reported> {
    let root = tree(FileId(0), problems, lookup);
    let topology = root.as_ref().map_err(|reported| *reported).and_then(|root| root::read(problems, root));
    let drafts: Vec<_> = (1..=campaigns)
        .map(|index| {
            let file = FileId(index);
            let root = tree(file, problems, lookup)?;
            campaigns::read(problems, file, &root)
        })
        .collect();
    if drafts.is_empty() {
        let help = "add a file such as campaigns/spring-2027.yaml beside the topology";
        problems.report_file(FileId(0), Fault::new(Code::NoCampaign, "there is no campaign", help));
    }
    let topology = topology?;
    cross::check(problems, &topology, &drafts);
    let compiled = topology.finish(drafts)?;
    if problems.is_empty() {
        check_size(problems, &compiled)?;
    }
    Ok(compiled)
}

fn tree(file: FileId, problems: &mut Problems<'_>, lookup: &Lookup<'_>) -> Result<Node, Reported> {
    let mut root = parse(file, problems)?;
    interpolate(&mut root, lookup, problems);
    Ok(root)
}

/// Opens a file's root. Anything but a known version ends the reading of the file before its keys
/// are looked at, because they may mean something else.
fn open_root<'n>(
    problems: &mut Problems<'_>,
    root: &'n Node,
    called: &str,
    section: &Section,
) -> Result<Fields<'n>, Reported> {
    let subject = Subject::root(root, called);
    let unchecked = Fields::unchecked(problems, root, subject.clone())?;
    if let Some((node, subject)) = unchecked.get("version")
        && let Ok(found) = plain(problems, node, &subject, whole)
        && found != VERSION
    {
        let message = format!("version {found} is not known; this program reads version {VERSION}");
        let fault = Fault::new(Code::Version, message, "use the `hongbao` that this file was written for");
        return Err(problems.report(node.span, fault));
    }
    let fields = Fields::open(problems, root, subject, section)?;
    if fields.get("version").is_none() {
        fields.missing(problems, "version");
    }
    Ok(fields)
}

/// Settings travel in one control record (I30); what cannot travel must not pass here.
fn check_size(problems: &mut Problems<'_>, topology: &Topology) -> Result<(), Reported> {
    let bytes = match topology.settings(0).to_json() {
        Ok(json) => json.len(),
        Err(error) => {
            let help = "please report this with the files";
            let fault = Fault::new(Code::File, format!("the settings cannot be made: {error}"), help);
            return Err(problems.report_file(FileId(0), fault));
        }
    };
    if bytes > SETTINGS_BYTES_MAX {
        let message = format!("the campaigns together take {bytes} bytes; at most {SETTINGS_BYTES_MAX}");
        let fault = Fault::new(Code::TooBig, message, "move finished campaigns away");
        return Err(problems.report_file(FileId(0), fault));
    }
    Ok(())
}
