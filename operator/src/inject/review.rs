//! An AdmissionReview in, an AdmissionReview out.

use super::{
    Injection,
    pod::{Outcome, inject},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// The only version that is spoken.
const VERSION: &str = "admission.k8s.io/v1";
/// The API server cuts warnings that are longer (all together 4,096 characters).
const MAX_WARNING: usize = 250;

/// Why there is no answer: the API server then does as the configuration's failurePolicy says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON.
    #[error("the body is no JSON: {0}")]
    Json(String),
    /// Not an AdmissionReview of the version that is spoken, or without a request.
    #[error("the body is no AdmissionReview of {VERSION} with a request")]
    Kind,
}

/// Answers a review.
///
/// # Errors
/// When the body is none. What a pod says is never an error here.
pub fn answer(body: &[u8], injection: &Injection) -> Result<Vec<u8>, ReviewError> {
    let review: Value = serde_json::from_slice(body).map_err(|e| ReviewError::Json(e.to_string()))?;
    let is_review = review.get("apiVersion").is_some_and(|v| v == VERSION)
        && review.get("kind").is_some_and(|k| k == "AdmissionReview");
    let request = review.get("request").filter(|r| is_review && r.is_object()).ok_or(ReviewError::Kind)?;
    let uid = request.get("uid").and_then(Value::as_str).ok_or(ReviewError::Kind)?;
    let mut response = json!({"uid": uid, "allowed": true});
    if is_new_pod(request) {
        let outcome = inject(request.get("object").unwrap_or(&Value::Null), injection);
        write(&mut response, outcome);
    }
    let answer = json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response});
    Ok(answer.to_string().into_bytes())
}

/// A pod that is created. Anything else that somebody configured is let pass untouched.
fn is_new_pod(request: &Value) -> bool {
    let text = |path: &str| request.pointer(path).and_then(Value::as_str).unwrap_or_default();
    text("/operation") == "CREATE"
        && (text("/kind/group"), text("/kind/version"), text("/kind/kind")) == ("", "v1", "Pod")
        && text("/subResource").is_empty()
}

fn write(response: &mut Value, outcome: Outcome) {
    match outcome {
        Outcome::Allow { patch, warnings } => {
            if !patch.is_empty() {
                response["patchType"] = json!("JSONPatch");
                response["patch"] = json!(STANDARD.encode(Value::Array(patch).to_string()));
            }
            if !warnings.is_empty() {
                let cut = |w: &String| w.chars().take(MAX_WARNING).collect::<String>();
                response["warnings"] = warnings.iter().map(cut).collect();
            }
        }
        Outcome::Refuse(reason) => {
            response["allowed"] = json!(false);
            response["status"] = json!({"code": 400, "reason": "BadRequest", "message": reason});
        }
    }
}
