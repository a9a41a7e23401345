//! Virtual keys.

use super::{
    Object, Problem, Status, check,
    index::{Found, Index},
    routes::missing_route,
    status::Notes,
    tree::{self, Parent, Tree},
};
use crate::{
    annotations,
    api::{
        SecretKeyRef, VirtualKey, VirtualKeySpec,
        virtual_key::{
            Budget, ContentLevel, DenyOrAllow, Enforcement, ModelRules, NearLimit, Period, Spending, ToolRule,
        },
    },
    conditions::{TOKEN_FIELD, TOKEN_MISSING, reasons},
    support::Support,
};
use kube::ResourceExt;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use tollgate_proto::{Kind, Resources, v1};

/// The fewest characters of a token that its user has chosen, in a cluster.
const MIN_TOKEN: usize = 32;

/// A key on its way.
struct Draft<'a> {
    object: &'a Object,
    key: &'a VirtualKey,
    status: Status,
    wire: v1::VirtualKey,
}

/// Compiles all keys.
pub(super) fn compile(index: &mut Index<'_>, resources: &mut Resources) -> Vec<Status> {
    let mut drafts: Vec<_> = index.keys().map(|(object, key)| draft(index, object, key)).collect();
    // The older key first, so that it has what two keys claim.
    drafts.sort_by_key(|d| d.object.precedence());
    conflicts(&mut drafts);
    index.refuse(drafts.iter().map(|d| &d.status));
    let accepted = || drafts.iter().filter(|d| d.status.is_accepted());
    let tree: Tree = accepted()
        .map(|d| (d.status.id(), tree::parent(index, d.object, d.key.spec.parent_ref.as_ref())))
        .collect();
    drafts.into_iter().map(|draft| finish(index, &tree, draft, resources)).collect()
}

/// What can be said of a key without the others.
fn draft<'a>(index: &Index<'_>, object: &'a Object, key: &'a VirtualKey) -> Draft<'a> {
    let mut status = Status::of(object);
    let mut wire = Compiler { index, object, problems: &mut status.problems }.key(&key.spec);
    wire.resets = resets(key);
    Draft { object, key, status, wire }
}

/// The resets that are asked for of budgets that the key has.
fn resets(key: &VirtualKey) -> Vec<v1::BudgetReset> {
    let asked = key.annotations().get(annotations::RESET_BUDGET).map_or("", String::as_str);
    let known = |budget: &str| budget == "*" || key.spec.budgets.iter().any(|b| b.name == budget);
    annotations::resets(asked)
        .filter(|(budget, _)| known(budget))
        .map(|(budget, id)| v1::BudgetReset { budget: budget.to_owned(), id: id.to_owned() })
        .collect()
}

/// Of several keys with the same token or the same ServiceAccount, or that are anyone's, the first has it.
fn conflicts(drafts: &mut [Draft<'_>]) {
    let mut tokens: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut accounts: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut anonymous: Option<String> = None;
    for Draft { status, wire, .. } in drafts.iter_mut().filter(|d| d.status.is_accepted()) {
        let me = status.id().to_string();
        let conflict = |field: &str, message: String| Problem::accepted(reasons::CONFLICT, field, message);
        if let Some(owner) = wire.token_sha256.iter().find_map(|hash| tokens.get(hash)) {
            status
                .problems
                .push(conflict("spec.token", format!("{owner} has the same token, and had it first")));
            continue;
        }
        if let Some(owner) = anonymous.as_ref().filter(|_| wire.anonymous) {
            let message = format!("{owner} is anonymous too, and was first: only one key can be");
            status.problems.push(conflict("spec.anonymous", message));
            continue;
        }
        let claimed = wire.service_accounts.iter().enumerate().find_map(|(i, account)| {
            let owner = accounts.get(&(account.namespace.clone(), account.name.clone()))?;
            Some((i, account, owner))
        });
        if let Some((i, account, owner)) = claimed {
            let message = format!(
                "{owner} has ServiceAccount {}/{} already, and had it first: a workload is one key only",
                account.namespace, account.name
            );
            let field = format!("spec.serviceAccounts[{i}]");
            status.problems.push(conflict(&field, message));
            continue;
        }
        if wire.anonymous {
            anonymous = Some(me.clone());
        }
        let mine = wire.service_accounts.iter().map(|a| ((a.namespace.clone(), a.name.clone()), me.clone()));
        accounts.extend(mine);
        tokens.extend(wire.token_sha256.iter().map(|hash| (hash.clone(), me.clone())));
    }
}

/// What can be said of a key among the others. A key whose parents form a circle or are too deep is not accepted and
/// travels all the same: it denies, and its users are told why.
fn finish(index: &Index<'_>, tree: &Tree, draft: Draft<'_>, resources: &mut Resources) -> Status {
    let Draft { object, key, mut status, mut wire } = draft;
    if !status.is_accepted() {
        return status;
    }
    wire.parent_ref = match tree.get(&status.id()) {
        Some(Parent::Key(parent) | Parent::Missing(parent, _)) => Some(parent.clone()),
        Some(Parent::Root) | None => None,
    };
    if let Some(mut problem) = tree::problem(tree, &status.id()) {
        wire.denied = problem.message.clone();
        problem.message.push_str("; the key is denied");
        status.problems.push(problem);
    }
    References { index, object, team: wire.team, problems: &mut status.problems }.key(&key.spec);
    resources.insert(wire);
    status
}

/// Compiles one key, noting what is wrong.
struct Compiler<'a, 'p> {
    index: &'a Index<'a>,
    object: &'a Object,
    problems: &'p mut Vec<Problem>,
}

/// Looks up what a key names.
struct References<'a, 'p> {
    index: &'a Index<'a>,
    object: &'a Object,
    team: bool,
    problems: &'p mut Vec<Problem>,
}

// === impl Compiler ===

impl Compiler<'_, '_> {
    fn key(&mut self, spec: &VirtualKeySpec) -> v1::VirtualKey {
        self.problems.extend(spec.not_supported_yet().into_iter().map(Problem::from));
        if let Some(parent) = &spec.parent_ref {
            self.problems.checked("spec.parentRef.name", check::dns_subdomain(&parent.name));
            if let Some(namespace) = &parent.namespace {
                self.problems.checked("spec.parentRef.namespace", check::dns_label(namespace));
            }
        }
        if let Some(route) = &spec.default_route {
            self.problems.checked("spec.defaultRoute", check::dns_subdomain(route));
        }
        let team = spec.token.is_none() && !spec.anonymous && spec.service_accounts.is_empty();
        self.problems.unique("budgets", "name", spec.budgets.iter().map(|b| b.name.as_str()));
        let limits = &spec.limits;
        let (token_sha256, previous_token_until) = self.tokens(spec);
        v1::VirtualKey {
            namespace: self.object.namespace.clone(),
            name: self.object.name.clone(),
            parent_ref: None,
            token_sha256,
            previous_token_until,
            anonymous: self.anonymous(spec),
            team,
            default_route: spec.default_route.clone().unwrap_or_default(),
            models: spec.models.as_ref().map(|rules| self.models(rules)),
            providers: self.providers(spec),
            budgets: spec.budgets.iter().enumerate().map(|(i, b)| self.budget(i, b)).collect(),
            limits: (*limits != Default::default()).then(|| v1::Limits {
                requests_per_minute: self
                    .problems
                    .positive("spec.limits.requestsPerMinute", limits.requests_per_minute),
                tokens_per_minute: self
                    .problems
                    .positive("spec.limits.tokensPerMinute", limits.tokens_per_minute),
                concurrent: self.problems.positive("spec.limits.concurrent", limits.concurrent),
            }),
            spending: (spec.spending != Spending::default()).then(|| spending(&spec.spending)),
            tools: spec.tools.as_ref().map(|rules| self.tools(rules)),
            logging: Some(self.logging(spec, team)),
            expires_at: spec.expires_at.as_ref().map(|time| time.0.as_millisecond()),
            disabled: spec.disabled,
            denied: String::new(),
            resets: Vec::new(),
            service_accounts: self.service_accounts(spec),
        }
    }

    /// Callers without a credential belong to no namespace, so only the platform's key may take them, with all that they say.
    fn anonymous(&mut self, spec: &VirtualKeySpec) -> bool {
        let namespace = &self.object.namespace;
        let counts = self.index.is_platform(namespace);
        if spec.anonymous && !counts {
            let message = format!(
                "does not count: {namespace} is no platform namespace; the key is nobody's without a credential"
            );
            self.problems.push(Problem::reference(reasons::PLATFORM_ONLY, "spec.anonymous", message));
        }
        spec.anonymous && counts
    }

    /// The hashes of the token and, while a rotation's overlap lasts, of the one before it, and until when that is valid.
    /// Whether it still is, is for who has a clock.
    fn tokens(&mut self, spec: &VirtualKeySpec) -> (Vec<Vec<u8>>, Option<i64>) {
        let Some(token) = self.token(spec) else { return (Vec::new(), None) };
        match self.previous(spec) {
            Some((previous, until)) if previous != token => (vec![token, previous], Some(until)),
            _ => (vec![token], None),
        }
    }

    /// The token before the rotation, as the operator writes it; nothing where that is incomplete.
    fn previous(&self, spec: &VirtualKeySpec) -> Option<(Vec<u8>, i64)> {
        let SecretKeyRef { name, key } = &spec.token.as_ref()?.secret_ref;
        let entry = |key: String| {
            let entry = SecretKeyRef { name: name.clone(), key };
            std::str::from_utf8(self.index.secret(&self.object.namespace, &entry).ok()?).ok()
        };
        let token = entry(annotations::previous(key))?;
        let until: jiff::Timestamp = entry(annotations::previous_until(key))?.parse().ok()?;
        (token.len() >= MIN_TOKEN).then(|| (Sha256::digest(token).to_vec(), until.as_millisecond()))
    }

    /// The SHA-256 of the token. A Secret that is missing leaves the key without one, so that nobody can present it.
    fn token(&mut self, spec: &VirtualKeySpec) -> Option<Vec<u8>> {
        let secret = &spec.token.as_ref()?.secret_ref;
        let field = TOKEN_FIELD;
        let bytes = match self.index.secret(&self.object.namespace, secret) {
            Ok(bytes) => bytes,
            Err(message) => {
                let message = format!("{message}; {TOKEN_MISSING}");
                self.problems.push(Problem::reference(reasons::SECRET_NOT_FOUND, field, message));
                return None;
            }
        };
        let text = std::str::from_utf8(bytes).map_or("", |t| t.trim_end_matches(['\r', '\n']));
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            self.problems.invalid(field, "the token is empty, or holds other than visible ASCII characters");
            return None;
        }
        if text.len() < MIN_TOKEN && !self.index.standalone() {
            let message = format!("the token has fewer than {MIN_TOKEN} characters: it could be guessed");
            self.problems.push(Problem::accepted(reasons::TOKEN_TOO_SHORT, field, message));
        }
        Some(Sha256::digest(text).to_vec())
    }

    /// ServiceAccounts are those of the key's own namespace: whoever claimed another's would get its prompts into their records.
    fn service_accounts(&mut self, spec: &VirtualKeySpec) -> Vec<v1::ObjectRef> {
        let accounts = &spec.service_accounts;
        self.problems.unique("serviceAccounts", "name", accounts.iter().map(|a| a.name.as_str()));
        for (i, account) in accounts.iter().enumerate() {
            let field = format!("spec.serviceAccounts[{i}].name");
            self.problems.checked(field, check::dns_subdomain(&account.name));
        }
        let namespace = &self.object.namespace;
        let wire = |name: &String| v1::ObjectRef { namespace: namespace.clone(), name: name.clone() };
        accounts.iter().map(|a| wire(&a.name)).collect()
    }

    fn models(&mut self, rules: &ModelRules) -> v1::ModelRules {
        for (list, patterns) in [("allow", rules.allow.as_deref().unwrap_or_default()), ("deny", &rules.deny)]
        {
            for (i, pattern) in patterns.iter().enumerate() {
                self.problems.checked(format!("spec.models.{list}[{i}]"), check::model_pattern(pattern));
            }
        }
        for (alias, model) in &rules.aliases {
            let field = format!("spec.models.aliases.{alias}");
            // No schema can bound the names of a map. An odd one harms nobody: it is what clients write, and no pattern.
            if let Err(reason) = check::model_name(alias) {
                let told = format!("an alias is taken letter by letter: {reason}");
                self.problems.push(Problem::reference(reasons::INVALID, &field, told));
            }
            self.problems.checked(&field, check::model_name(&model.0));
            if rules.aliases.contains_key(&model.0) {
                let message = format!("`{}` is an alias itself: name the model it stands for", model.0);
                self.problems.invalid(&field, message);
            }
        }
        v1::ModelRules {
            allow: rules.allow.as_ref().map(|patterns| v1::Globs { patterns: patterns.clone() }),
            deny: rules.deny.clone(),
            aliases: rules.aliases.iter().map(|(alias, model)| (alias.clone(), model.0.clone())).collect(),
        }
    }

    fn providers(&mut self, spec: &VirtualKeySpec) -> Option<v1::ProviderRules> {
        let rules = spec.providers.as_ref()?;
        for (i, region) in rules.regions.iter().flatten().enumerate() {
            self.problems.checked(format!("spec.providers.regions[{i}]"), check::plain_pattern(region));
        }
        Some(v1::ProviderRules {
            allow: rules.allow.as_ref().map(|kinds| v1::Providers {
                kinds: kinds.iter().map(|kind| super::provider(*kind).into()).collect(),
            }),
            regions: rules.regions.as_ref().map(|patterns| v1::Globs { patterns: patterns.clone() }),
        })
    }

    fn budget(&mut self, i: usize, budget: &Budget) -> v1::Budget {
        let field = |name: &str| format!("spec.budgets[{i}].{name}");
        self.problems.checked(field("name"), check::dns_label(&budget.name));
        for (j, pattern) in budget.models.iter().flatten().enumerate() {
            self.problems.checked(field(&format!("models[{j}]")), check::model_pattern(pattern));
        }
        if budget.models.as_ref().is_some_and(Vec::is_empty) {
            self.problems.invalid(field("models"), "is empty: leave it out to count all models");
        }
        if let Some(zone) = &budget.time_zone {
            let known = jiff::tz::TimeZone::get(zone).map(|_| ());
            let reason = |_| format!("`{zone}` is not an IANA time zone, such as `Europe/Berlin`");
            self.problems.checked(field("timeZone"), known.map_err(reason));
        }
        v1::Budget {
            name: budget.name.clone(),
            limit: self.limit(i, budget),
            window: self.window(i, budget),
            time_zone: budget.time_zone.clone().unwrap_or_default(),
            models: budget.models.clone().unwrap_or_default(),
        }
    }

    fn limit(&mut self, i: usize, budget: &Budget) -> Option<v1::budget::Limit> {
        let field = |name: &str| format!("spec.budgets[{i}]{name}");
        match (&budget.usd, budget.tokens) {
            (Some(usd), None) => {
                let nanos = usd.nanos().map_err(|e| e.to_string());
                self.problems.checked(field(".usd"), nanos).map(v1::budget::Limit::NanoUsd)
            }
            (None, Some(tokens)) => {
                self.problems.positive(field(".tokens"), Some(tokens)).map(v1::budget::Limit::Tokens)
            }
            (None, None) => {
                self.problems.invalid(field(""), "has no limit: it needs usd or tokens");
                None
            }
            (Some(_), Some(_)) => {
                self.problems.invalid(field(""), "has both usd and tokens: make it two budgets");
                None
            }
        }
    }

    fn window(&mut self, i: usize, budget: &Budget) -> Option<v1::budget::Window> {
        let field = |name: &str| format!("spec.budgets[{i}]{name}");
        match (budget.period, &budget.rolling) {
            (Some(period), None) => Some(v1::budget::Window::Period(self::period(period).into())),
            (None, Some(rolling)) => {
                if budget.time_zone.is_some() {
                    let message = "has no meaning with rolling: only calendar periods have a time zone";
                    self.problems.invalid(field(".timeZone"), message);
                }
                let millis = check::span(rolling, 1000);
                self.problems.checked(field(".rolling"), millis).map(v1::budget::Window::Rolling)
            }
            (None, None) => {
                self.problems.invalid(field(""), "has no window: it needs period or rolling");
                None
            }
            (Some(_), Some(_)) => {
                self.problems.invalid(field(""), "has both period and rolling: make it two budgets");
                None
            }
        }
    }

    fn tools(&mut self, rules: &[ToolRule]) -> v1::ToolRules {
        self.problems.unique("tools", "server", rules.iter().map(|r| r.server.as_str()));
        for (i, rule) in rules.iter().enumerate() {
            self.problems.checked(format!("spec.tools[{i}].server"), check::dns_label(&rule.server));
            if !rule.deny.is_empty() && rule.allow.is_empty() && rule.approve.is_empty() {
                let message =
                    "takes away from allow, which names no tool: write allow: [\"*\"] for the others";
                self.problems.invalid(format!("spec.tools[{i}].deny"), message);
            }
            for (list, patterns) in [("allow", &rule.allow), ("deny", &rule.deny), ("approve", &rule.approve)]
            {
                for (j, pattern) in patterns.iter().enumerate() {
                    let field = format!("spec.tools[{i}].{list}[{j}]");
                    self.problems.checked(field, check::plain_pattern(pattern));
                }
            }
        }
        let rule = |rule: &ToolRule| v1::ToolRule {
            server: rule.server.clone(),
            allow: rule.allow.clone(),
            deny: rule.deny.clone(),
            approve: rule.approve.clone(),
            require_suggestion: rule.require_suggestion,
        };
        v1::ToolRules { rules: rules.iter().map(rule).collect() }
    }

    /// A team that says nothing restricts nothing, like with its other rules.
    fn logging(&mut self, spec: &VirtualKeySpec, team: bool) -> v1::Logging {
        let content = match spec.logging.as_ref().and_then(|l| l.content) {
            Some(ContentLevel::None) => v1::Content::None,
            Some(ContentLevel::Metadata) => v1::Content::Metadata,
            Some(ContentLevel::Full) => v1::Content::Full,
            None if team || self.index.standalone() => v1::Content::Full,
            None => v1::Content::Metadata,
        };
        let retention = spec.logging.as_ref().and_then(|l| l.retention.as_ref());
        let retention = retention
            .and_then(|span| self.problems.checked("spec.logging.retention", check::span(span, 60_000)));
        v1::Logging { content: content.into(), retention }
    }
}

fn period(period: Period) -> v1::Period {
    match period {
        Period::Minute => v1::Period::Minute,
        Period::Hour => v1::Period::Hour,
        Period::Day => v1::Period::Day,
        Period::Week => v1::Period::Week,
        Period::Month => v1::Period::Month,
        Period::Quarter => v1::Period::Quarter,
        Period::Year => v1::Period::Year,
    }
}

fn spending(spending: &Spending) -> v1::Spending {
    v1::Spending {
        enforcement: match spending.enforcement {
            Enforcement::Strict => v1::Enforcement::Strict,
            Enforcement::Relaxed => v1::Enforcement::Relaxed,
        }
        .into(),
        unpriced: match spending.unpriced {
            DenyOrAllow::Deny => v1::Unpriced::Deny,
            DenyOrAllow::Allow => v1::Unpriced::Allow,
        }
        .into(),
        near_limit: match spending.near_limit {
            NearLimit::LowerOutputCap => v1::NearLimit::LowerOutputCap,
            NearLimit::Refuse => v1::NearLimit::Refuse,
        }
        .into(),
        on_store_failure: match spending.on_store_failure {
            DenyOrAllow::Deny => v1::OnStoreFailure::Deny,
            DenyOrAllow::Allow => v1::OnStoreFailure::Allow,
        }
        .into(),
    }
}

// === impl References ===

impl References<'_, '_> {
    fn key(&mut self, spec: &VirtualKeySpec) {
        if let Some(route) = &spec.default_route {
            self.route(route, "spec.defaultRoute".to_owned());
        }
        if let Some(rules) = &spec.models {
            let lists = [("allow", rules.allow.as_deref().unwrap_or_default()), ("deny", &rules.deny)];
            for (list, patterns) in lists {
                for (i, pattern) in patterns.iter().enumerate() {
                    self.pattern(pattern, format!("spec.models.{list}[{i}]"));
                }
            }
            // With a default route, `a/b` may be the whole name of a model.
            for (alias, model) in rules.aliases.iter().filter(|_| spec.default_route.is_none()) {
                self.pattern(&model.0, format!("spec.models.aliases.{alias}"));
            }
        }
        for (i, budget) in spec.budgets.iter().enumerate() {
            for (j, pattern) in budget.models.iter().flatten().enumerate() {
                self.pattern(pattern, format!("spec.budgets[{i}].models[{j}]"));
            }
        }
        for (i, rule) in spec.tools.iter().flatten().enumerate() {
            self.server(&rule.server, format!("spec.tools[{i}].server"));
            self.tools(i, rule);
        }
    }

    /// The route of a pattern that names exactly one.
    fn pattern(&mut self, pattern: &str, field: String) {
        if let Some((route, _)) = pattern.split_once('/')
            && !route.contains('*')
        {
            self.route(route, field);
        }
    }

    fn route(&mut self, name: &str, field: String) {
        let problem = missing_route(self.index, &self.object.namespace, name, field);
        self.problems.extend(problem.filter(|p| self.counts(p)));
    }

    fn server(&mut self, name: &str, field: String) {
        let namespace = &self.object.namespace;
        let (reason, message) = match self.index.find(Kind::McpServer, namespace, name) {
            Found::Object(_) => return,
            Found::NotAllowed(Some(other)) => (
                reasons::NOT_ALLOWED,
                format!(
                    "McpServer {0}/{name} allows {namespace}, but {0} is no platform namespace (the chart's platformNamespaces): \
                     it does not count",
                    other.namespace
                ),
            ),
            Found::NotAllowed(None) => (
                reasons::NOT_ALLOWED,
                format!("McpServer `{name}` exists in other namespaces only, and none allows {namespace}"),
            ),
            Found::Refused(server) => {
                (reasons::SERVER_NOT_FOUND, format!("McpServer {}/{name} is not accepted", server.namespace))
            }
            Found::Nothing => {
                (reasons::SERVER_NOT_FOUND, format!("McpServer {namespace}/{name} does not exist"))
            }
        };
        let problem = Problem::reference(reason, field, format!("{message}; the key has no tools of it"));
        self.problems.extend(Some(problem).filter(|p| self.counts(p)));
    }

    /// What looks as if it gave or took a tool, and does neither.
    fn tools(&mut self, i: usize, rule: &ToolRule) {
        let ToolRule { server, allow, deny, approve, .. } = rule;
        let mut note = |field: String, message: String| {
            self.problems.push(Problem::reference(reasons::TOOL_NOT_FOUND, field, message));
        };
        if allow.is_empty() && approve.is_empty() {
            let message =
                format!("gives no tool of `{server}`: write allow: [\"*\"] for all of them, or their names");
            note(format!("spec.tools[{i}]"), message);
        }
        for (list, patterns) in [("allow", allow), ("deny", deny)] {
            for (j, pattern) in patterns.iter().enumerate() {
                let Some(own) = own_name(server, pattern) else { continue };
                let message = format!(
                    "`{pattern}` is the name that clients see, and matches nothing here: write `{own}`, the server's own name"
                );
                note(format!("spec.tools[{i}].{list}[{j}]"), message);
            }
        }
    }

    /// A team's names are its children's names too, and those may live in namespaces that see more.
    fn counts(&self, problem: &Problem) -> bool {
        !(self.team && problem.reason == reasons::NOT_ALLOWED)
    }
}

/// A tool's own name, when what is written is the name that clients see: `github__query`, or `mcp__tollgate__github__query` as Claude
/// Code shows it.
fn own_name<'p>(server: &str, pattern: &'p str) -> Option<&'p str> {
    let prefix = format!("{server}__");
    let own = match pattern.strip_prefix("mcp__") {
        Some(rest) => rest.split_once(&prefix).map(|(_, own)| own),
        None => pattern.strip_prefix(&prefix),
    };
    own.filter(|own| !own.is_empty())
}
