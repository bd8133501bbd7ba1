//! Whether one document is let in: filled in, checked, and understood, all by itself.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::CustomResourceExt as _;
use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::{Fault, FaultKind};
use super::kind::{Kind, ObjectKey, Ownership, classify};
use super::schema::Node;
use super::worker::{TemplateReader, WorkerProgram};
use crate::crd::{self, CronTask, CronTaskSpec, TaskQueue, TaskQueueSpec};
use crate::document::{self, FieldPath, Notation};
use crate::resolve::{self, Flaw, QueuePlan};
use crate::schedule::TimingSource;

/// An object that is right as far as it can be told without the others.
#[derive(Debug, PartialEq)]
pub(super) struct Admitted {
    pub(super) key: ObjectKey,
    pub(super) spec: Spec,
}

#[derive(Debug, PartialEq)]
pub(super) enum Spec {
    CronTask { spec: Box<CronTaskSpec>, timing: TimingSource },
    TaskQueue { spec: Box<TaskQueueSpec>, plan: QueuePlan, program: WorkerProgram },
}

/// What became of one document.
#[derive(Debug)]
pub(super) enum Outcome {
    Admitted(Arc<Admitted>),
    /// `key` is there when it can be told which object this was meant to be.
    Refused {
        object: String,
        key: Option<ObjectKey>,
        faults: Vec<Fault>,
    },
    /// Nothing of ours: `apiVersion` and `kind`.
    Foreign(String),
}

/// Admits documents. Schemas and rules are compiled once, when it is made.
pub(super) struct Gate {
    cron_task: Rules,
    task_queue: Rules,
    templates: TemplateReader,
    validator: Validator,
}

struct Rules {
    schema: Node,
    cel: CompiledSchema,
}

impl Rules {
    fn compile(definition: &CustomResourceDefinition) -> Self {
        let schema = definition.spec.versions.first().and_then(|version| version.schema.as_ref());
        let schema = serde_json::to_value(schema.and_then(|schema| schema.open_api_v3_schema.as_ref()))
            .expect("a schema has only text keys");
        let root = json!({
            "type": "object",
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "properties": {
                "apiVersion": { "type": "string" },
                "kind": { "type": "string" },
                "metadata": metadata_schema(),
                "spec": schema["properties"]["spec"],
                // What was read from a cluster has one; it says nothing here.
                "status": { "x-kubernetes-preserve-unknown-fields": true },
            },
        });
        Self {
            schema: Node::compile(&root)
                .expect("the kinds' schemas use known keywords only, which a test checks"),
            cel: {
                let mut cel = compile_schema(&schema);
                keep_rules_only(&mut cel);
                cel
            },
        }
    }
}

/// Cuts off every part of a schema in which there is no rule, and the defaults, which have been filled in: the
/// evaluator would convert each part of an object once more and copy it, to no effect. Returns whether there is
/// any rule.
fn keep_rules_only(schema: &mut CompiledSchema) -> bool {
    schema.default = None;
    schema.properties.retain(|_, property| keep_rules_only(property));
    for inner in [&mut schema.items, &mut schema.additional_properties] {
        if !inner.as_deref_mut().is_some_and(keep_rules_only) {
            *inner = None;
        }
    }
    let is_inner =
        !schema.properties.is_empty() || schema.items.is_some() || schema.additional_properties.is_some();
    is_inner || !schema.validations.is_empty()
}

/// What an API server checks of every object's metadata. Fields it fills in itself are let pass, so that what
/// was read from a cluster can be read here; without a description, no message offers them.
fn metadata_schema() -> Value {
    let texts = json!({
        "description": "pairs of texts",
        "type": "object",
        "additionalProperties": { "type": "string" },
    });
    let mut schema = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {
                "description": "unique among the objects of its kind in the namespace",
                "type": "string",
                "minLength": 1,
                "maxLength": 253,
                "pattern": crd::DNS_SUBDOMAIN,
            },
            "namespace": {
                "description": "where the object lives",
                "type": "string",
                "default": "default",
                "minLength": 1,
                "maxLength": 63,
                "pattern": crd::DNS_LABEL,
            },
            "labels": texts,
            "annotations": texts,
        },
    });
    for field in [
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ] {
        schema["properties"][field] = json!({ "x-kubernetes-preserve-unknown-fields": true });
    }
    schema
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            cron_task: Rules::compile(&CronTask::crd()),
            task_queue: Rules::compile(&TaskQueue::crd()),
            templates: TemplateReader::new(),
            validator: Validator::new(),
        }
    }

    /// Decides about one document.
    pub(super) fn admit(&self, text: &str, notation: Notation) -> Outcome {
        let refused = |fault| Outcome::Refused { object: String::new(), key: None, faults: vec![fault] };
        let value = match document::parse(text, notation) {
            Ok(value) => value,
            Err(fault) => {
                let mut refusal = Fault::new(FieldPath::default(), FaultKind::Syntax, fault.message);
                refusal.line = Some(fault.line);
                return refused(refusal);
            }
        };
        match ownership(&value) {
            Ok((Ownership::Foreign, name)) => Outcome::Foreign(name),
            Ok((Ownership::Ours(kind), _)) => self.admit_object(kind, value),
            Err(fault) => refused(*fault),
        }
    }

    fn admit_object(&self, kind: Kind, mut value: Value) -> Outcome {
        let rules = match kind {
            Kind::CronTask => &self.cron_task,
            Kind::TaskQueue => &self.task_queue,
        };
        let mut faults = Vec::new();
        rules.schema.fill(&mut value);
        rules.schema.check(&value, &FieldPath::default(), &mut faults);
        let key = key_of(kind, &value, &faults);
        let refused = |faults| Outcome::Refused {
            object: key.as_ref().map_or_else(|| kind.as_str().to_owned(), ToString::to_string),
            key: key.clone(),
            faults,
        };
        let Some(key) = key.as_ref().filter(|_| faults.is_empty()) else { return refused(faults) };

        let broken = self.validator.validate_compiled(&rules.cel, &value, None).err();
        let broken: Vec<_> = broken
            .into_iter()
            .flatten()
            .map(|rule| Fault::new(FieldPath::parse(&rule.field_path), FaultKind::BrokenRule, rule.message))
            .collect();
        match self.understand(key, value["spec"].take()) {
            Ok(spec) if broken.is_empty() => Outcome::Admitted(Arc::new(Admitted { key: key.clone(), spec })),
            Ok(_) => refused(broken),
            Err(mut faults) => {
                // A rule knows less about a field than the code that reads it.
                let others = broken
                    .into_iter()
                    .filter(|rule| !faults.iter().any(|fault| fault.path.is_at(&rule.path)));
                let others: Vec<_> = others.collect();
                faults.extend(others);
                refused(faults)
            }
        }
    }

    fn understand(&self, key: &ObjectKey, spec: Value) -> Result<Spec, Vec<Fault>> {
        match key.kind {
            Kind::CronTask => {
                let spec: Box<CronTaskSpec> = typed(spec)?;
                // Intervals count from here, so that they stay in step however often the manifest is read anew.
                let anchor = jiff::Timestamp::UNIX_EPOCH;
                let timing = resolve::timing_source(&key.namespace, &key.name, &spec, anchor);
                resolve::check_timing(&spec, &timing).map_err(faults)?;
                check_local(&spec)?;
                Ok(Spec::CronTask { spec, timing })
            }
            Kind::TaskQueue => {
                let spec: Box<TaskQueueSpec> = typed(spec)?;
                let plan = QueuePlan::of(&spec, None).map_err(faults)?;
                let workers = spec.workers.as_ref();
                let program = match workers.is_some_and(|workers| workers.target_ref.is_some()) {
                    true => WorkerProgram::Target,
                    false => self.templates.read(workers.and_then(|workers| workers.template.as_ref()))?,
                };
                Ok(Spec::TaskQueue { spec, plan, program })
            }
        }
    }
}

/// Whose object it is, and what it calls itself.
fn ownership(value: &Value) -> Result<(Ownership, String), Box<Fault>> {
    let missing =
        |field, message: &str| Box::new(Fault::new(FieldPath::of(&[field]), FaultKind::UnknownKind, message));
    let Some(object) = value.as_object() else {
        let fault = Fault::new(FieldPath::default(), FaultKind::UnknownKind, "a document that is no object");
        return Err(Box::new(fault.allowing("apiVersion, kind, metadata, spec")));
    };
    let text = |field| match object.get(field) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(missing(field, "is not a text")),
        None => Err(missing(field, "is missing")),
    };
    let ours = |fault: Box<Fault>| {
        let allowed = match fault.path.to_string().as_str() {
            "kind" => "CronTask, TaskQueue".to_owned(),
            _ => format!("{}/{}", crd::GROUP, crd::VERSION),
        };
        Box::new(fault.allowing(allowed))
    };
    let (api_version, kind) = (text("apiVersion").map_err(ours)?, text("kind").map_err(ours)?);
    Ok((classify(api_version, kind)?, format!("{api_version} {kind}")))
}

/// The object's name, if nothing about it was refused.
fn key_of(kind: Kind, value: &Value, faults: &[Fault]) -> Option<ObjectKey> {
    let text = |field: &str| {
        let path = FieldPath::of(&["metadata", field]);
        let is_sound = faults.iter().all(|fault| fault.path != path);
        value.get("metadata")?.get(field)?.as_str().filter(|_| is_sound).map(str::to_owned)
    };
    Some(ObjectKey { kind, namespace: text("namespace")?, name: text("name")? })
}

fn typed<T: DeserializeOwned>(spec: Value) -> Result<Box<T>, Vec<Fault>> {
    // The schema has let it pass and is made from the same type; should they ever differ, it is refused, not
    // fatal.
    serde_json::from_value(spec).map_err(|_| {
        vec![Fault::new(
            FieldPath::of(&["spec"]),
            FaultKind::InvalidValue,
            "passes the schema but not the type made from it",
        )]
    })
}

/// What an object asks for that only a cluster has.
fn check_local(spec: &CronTaskSpec) -> Result<(), Vec<Fault>> {
    let Some(_) = &spec.task.payload_from else { return Ok(()) };
    let path = FieldPath::of(&["spec", "task", "payloadFrom"]);
    let fault = Fault::new(path, FaultKind::NeedsCluster, "a ConfigMap cannot be read without a cluster");
    Err(vec![fault.allowing("the payload itself, as spec.task.payload")])
}

fn faults(flaws: Vec<Flaw>) -> Vec<Fault> {
    flaws.into_iter().map(Fault::from).collect()
}
