//! What is wrong or missing: a condition says what and what next, nothing else is disturbed, and it heals by itself.

use std::time::Duration;

use crate::field::{Field, LIMIT, named_queue, queue, task};
use crate::support::until;

/// One way to be wrong.
struct Wrong {
    /// What is applied.
    manifests: String,
    kind: &'static str,
    name: &'static str,
    reason: &'static str,
    /// Words that must stand in the message: what is wrong, and what to do.
    says: &'static [&'static str],
    /// What mends it.
    mended: Mend,
}

enum Mend {
    Apply(String),
    Delete(&'static str, &'static str),
}

fn wrong(
    kind: &'static str,
    name: &'static str,
    manifests: String,
    reason: &'static str,
    says: &'static [&'static str],
    mended: Mend,
) -> Wrong {
    Wrong { manifests, kind, name, reason, says, mended }
}

fn on_secret(name: &str, secret: &str) -> String {
    named_queue(name, "")
        .replace("{name: redis}", &format!("{{name: {secret}}}"))
        .replace("name: default", "name: default, redisName: q-NAME")
        .replace("NAME", name)
}

fn secret(name: &str, url: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{url: \"{url}\"}}\n")
}

fn with_payload(key: &str) -> String {
    task("mapped", "@hourly", "").replace(
        "task: {type: hello,",
        &format!("task: {{payloadFrom: {{configMapKeyRef: {{name: settings, key: {key}}}}}, type: hello,"),
    )
}

fn templated(containers: &str) -> String {
    named_queue("templated", &format!("workers: {{template: {{spec: {{containers: {containers}}}}}}}"))
        .replace("name: default", "name: default, redisName: q-templated")
}

fn cases(field: &Field) -> Vec<Wrong> {
    let url = field.redis.plain_url();
    let settings = |key: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{{key}: '{{\"a\":1}}'}}\n"
        )
    };
    vec![
        wrong(
            "crontask",
            "nozone",
            task("nozone", "@hourly", "timeZone: Asia/Shanghia"),
            "InvalidSchedule",
            &["unknown zone", "did you mean Asia/Shanghai?"],
            Mend::Apply(task("nozone", "@hourly", "timeZone: Asia/Shanghai")),
        ),
        wrong(
            "crontask",
            "never",
            task("never", "0 0 30 2 *", ""),
            "NeverFires",
            &["0 0 30 2 *", "correct its day of month"],
            Mend::Apply(task("never", "0 0 28 2 *", "")),
        ),
        wrong(
            "crontask",
            "nocron",
            task("nocron", "61 * * * *", ""),
            "InvalidSchedule",
            &["minute", "allowed: 0-59"],
            Mend::Apply(task("nocron", "59 * * * *", "")),
        ),
        wrong(
            "crontask",
            "noqueue",
            task("noqueue", "@hourly", "").replace("{name: main}", "{name: mian}"),
            "MissingReference",
            &["no TaskQueue \"mian\"", "did you mean main?"],
            Mend::Apply(task("noqueue", "@hourly", "")),
        ),
        wrong(
            "crontask",
            "mapped",
            with_payload("body"),
            "ConfigMapMissing",
            &["no ConfigMap settings", "create it"],
            Mend::Apply(settings("body")),
        ),
        wrong(
            "crontask",
            "both",
            task("both", "@hourly", "").replace(
                "type: hello",
                "type: hello, payload: 1, payloadFrom: {configMapKeyRef: {name: a, key: b}}",
            ),
            "InvalidValue",
            &["a payload and a payloadFrom", "remove one"],
            Mend::Apply(task("both", "@hourly", "").replace("type: hello", "type: hello, payload: 1")),
        ),
        wrong(
            "taskqueue",
            "nosecret",
            on_secret("nosecret", "late"),
            "SecretMissing",
            &["no Secret late", "create it with the URL of Redis under url"],
            Mend::Apply(secret("late", &url)),
        ),
        wrong(
            "taskqueue",
            "badurl",
            format!("{}---\n{}", secret("bad", "http://redis"), on_secret("badurl", "bad")),
            "InvalidRedisURL",
            &["allowed are redis://", "correct it in the Secret"],
            Mend::Apply(secret("bad", &url)),
        ),
        wrong(
            "taskqueue",
            "taken",
            named_queue("taken", "").replace("name: default", "name: other, redisName: default"),
            "QueueClaimed",
            &["queue default in Redis belongs to TaskQueue", "/main of this cluster", "another redisName"],
            Mend::Apply(named_queue("taken", "").replace("name: default", "name: other")),
        ),
        wrong(
            "taskqueue",
            "templated",
            templated("[{name: a, image: a}, {name: b, image: b}]"),
            "NoWorkerContainer",
            &["none of which is named worker", "name the one worker"],
            Mend::Apply(templated("[{name: a, image: a}, {name: worker, image: b}]")),
        ),
        wrong(
            "taskqueue",
            "refusedpod",
            named_queue(
                "refusedpod",
                "workers: {template: {spec: {containers: [{name: worker}], restartPolicy: Never}}}",
            )
            .replace("name: default", "name: default, redisName: q-refusedpod"),
            "TemplateRefused",
            &["the API server refuses", "correct spec.workers.template"],
            Mend::Apply(
                named_queue(
                    "refusedpod",
                    "workers: {template: {spec: {containers: [{name: worker, image: a}]}}}",
                )
                .replace("name: default", "name: default, redisName: q-refusedpod"),
            ),
        ),
        wrong(
            "taskqueue",
            "nameless",
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: unrelated}}\n---\napiVersion: v1\nkind: Secret\nmetadata: \
                 {{name: nameless-worker-redis}}\nstringData: {{mine: x}}\n---\n{}",
                named_queue("nameless", "workers: {}")
                    .replace("name: default", "name: default, redisName: q-nameless")
            ),
            "NameTaken",
            &["Secret nameless-worker-redis exists", "rename or delete it"],
            Mend::Delete("secret", "nameless-worker-redis"),
        ),
    ]
}

#[tokio::test]
async fn what_is_wrong_says_so_disturbs_nothing_else_and_heals_by_itself() {
    let field = Field::new();
    let operator = field.operator("a", &[]).await;
    field.apply(&queue(""));
    field.apply(&task("good", "@every 1s", ""));
    field.ready("crontask", "good").await;
    let before = field.get("crontask", "good")["status"]["conditions"].clone();
    let cases = cases(&field);
    cases.iter().for_each(|case| field.apply(&case.manifests));
    for case in &cases {
        let said = field.refused(case.kind, case.name, case.reason).await;
        for words in case.says {
            assert!(said.contains(words), "{} {}: {said}", case.kind, case.name);
        }
        let stalled = field.condition(case.kind, case.name, "Stalled");
        assert_eq!(stalled.map(|(status, _, _)| status).as_deref(), Some("True"), "{}", case.name);
    }
    // Meanwhile the one that is right fires on, and nothing is said of it anew.
    let fired = || field.cli(&["LLEN", "asynq:{default}:pending"]).parse::<u64>().unwrap_or(0);
    let so_far = fired();
    until(LIMIT, "the good one fires on", async || fired() >= so_far + 2).await;
    assert_eq!(field.get("crontask", "good")["status"]["conditions"], before);
    assert!(
        operator.process.stderr().iter().all(|line| !line.contains("panicked")),
        "{:?}",
        operator.process.stderr()
    );

    for case in &cases {
        match &case.mended {
            Mend::Apply(manifests) => field.apply(manifests),
            Mend::Delete(kind, name) => field.delete(kind, name),
        }
    }
    for case in &cases {
        field.ready(case.kind, case.name).await;
        assert_eq!(field.condition(case.kind, case.name, "Stalled"), None, "{}", case.name);
    }
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_told_with_its_reason() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue("workers: {replicas: 1}"));
    field.ready("taskqueue", "main").await;
    let pod = || {
        let words =
            ["get", "-n", &field.namespace, "pods", "-l", "cronmill.dev/task-queue=main", "-o", "name"];
        field.api.kubectl(&words).trim().to_owned()
    };
    until(LIMIT, "there is a pod", async || !pod().is_empty()).await;
    // What a kubelet reports; there is none here.
    let patch = r#"{"status": {"containerStatuses": [{"name": "worker", "image": "i", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}}]}}"#;
    let (name, namespace) = (pod(), field.namespace.as_str());
    field.api.kubectl(&[
        "patch",
        "-n",
        namespace,
        &name,
        "--subresource=status",
        "--type=merge",
        "-p",
        patch,
    ]);
    let told = async || {
        field.condition("taskqueue", "main", "WorkersHealthy").is_some_and(|(status, reason, message)| {
            status == "False"
                && reason == "ImagePullBackOff"
                && message.contains("no such host")
                && message.contains("correct the image")
        })
    };
    until(LIMIT, "it is told", told).await;
    assert_eq!(
        field.condition("taskqueue", "main", "Ready").map(|(status, _, _)| status).as_deref(),
        Some("True")
    );
}

#[tokio::test]
async fn a_name_over_the_limit_is_refused_when_it_is_applied() {
    let field = Field::new();
    for (manifest, says) in [
        (named_queue(&"q".repeat(53), ""), "at most 52 characters"),
        (task(&"t".repeat(64), "@hourly", ""), "at most 63 characters"),
    ] {
        let words = ["apply", "-n", &field.namespace, "-f", "-"];
        let said = field.api.try_kubectl(&words, &manifest).expect_err("it is too long");
        assert!(said.contains(says), "{said}");
    }
}

#[tokio::test]
async fn a_rotated_secret_is_noticed_and_its_url_is_shown_nowhere() {
    let field = Field::new();
    field.redis.cli(["CONFIG", "SET", "requirepass", "first-pass"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", field.redis.port());
    field.put_secret("redis", &url("first-pass"));
    let operator = field.operator("a", &[]).await;
    field.apply(&queue("workers: {}"));
    field.apply(&task("often", "@every 1s", ""));
    field.ready("taskqueue", "main").await;
    field.ready("crontask", "often").await;
    let copied =
        || field.get("secret", "main-worker-redis")["data"]["url"].as_str().unwrap_or_default().to_owned();
    let before = copied();
    assert!(!before.is_empty());

    field.redis.cli_here(["-a", "first-pass", "CONFIG", "SET", "requirepass", "second-pass"]);
    field.redis.cli_here(["-a", "second-pass", "CLIENT", "KILL", "TYPE", "normal"]);
    until(LIMIT, "it is told", async || {
        field.condition("taskqueue", "main", "RedisReachable").is_some_and(|(status, _, _)| status == "False")
    })
    .await;
    field.put_secret("redis", &url("second-pass"));
    until(LIMIT, "it is noticed", async || {
        field.condition("taskqueue", "main", "RedisReachable").is_some_and(|(status, _, _)| status == "True")
    })
    .await;
    until(LIMIT, "workers get it", async || copied() != before).await;

    let mut shown = operator.process.stderr().join("\n");
    for kind in ["taskqueues", "crontasks", "events", "deployments"] {
        shown += &field.api.kubectl(&["get", "-n", &field.namespace, kind, "-o", "yaml"]);
    }
    shown += &operator.probe("/metrics").await.map(|(_, text)| text).unwrap_or_default();
    assert!(!shown.contains("first-pass") && !shown.contains("second-pass"));
}

#[tokio::test]
async fn a_secret_deleted_by_mistake_is_told_and_stops_no_schedule() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue(""));
    field.apply(&task("often", "@every 1s", ""));
    field.ready("crontask", "often").await;
    field.delete("secret", "redis");
    field.refused("taskqueue", "main", "SecretMissing").await;
    let fired = || field.cli(&["LLEN", "asynq:{default}:pending"]).parse::<u64>().unwrap_or(0);
    let so_far = fired();
    until(LIMIT, "it fires on", async || fired() >= so_far + 3).await;
    // Nor does it keep a new one out, whose queue is where it was.
    field.apply(&task("later", "@hourly", ""));
    field.ready("crontask", "later").await;
    field.put_secret("redis", &field.redis.plain_url());
    field.ready("taskqueue", "main").await;
}

#[tokio::test]
async fn a_payload_from_a_config_map_is_taken_as_it_is_and_followed() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue(""));
    let settings = |text: &str| {
        field.apply(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{body: '{text}'}}\n"
        ));
    };
    settings("one ");
    field.apply(&with_payload("body"));
    field.ready("crontask", "mapped").await;
    let uid = field.entries("default").pop().unwrap();
    let payload = || {
        let body = field.cli(&["HGET", &format!("cronmill:{{default}}:entry:{uid}"), "body"]);
        serde_json::from_str::<serde_json::Value>(&body).unwrap_or_default()["template"]["payload"]["text"]
            .clone()
    };
    assert_eq!(payload(), "one ");
    settings("two");
    until(LIMIT + Duration::from_secs(30), "the change is followed", async || payload() == "two").await;
}
