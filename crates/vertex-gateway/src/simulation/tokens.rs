//! The token endpoint: a source with faults, which checks how often tokens are fetched.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tower_vertex::{
    BoxError,
    token::{AccessToken, FetchReason, TokenFuture, TokenSource},
};

use super::world::{World, wall_clock};

/// One token that was minted.
struct Minted {
    value: String,
    at: Instant,
    wall: std::time::SystemTime,
    lifetime: Duration,
    /// Its lifetime for the cache, which has a default if the source does not know it.
    believed: Duration,
    revoked: bool,
    /// Whether the upstream has refused it.
    refused: bool,
}

/// The result of the latest fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    None,
    New,
    /// The same token again, by a fetch for this reason.
    Same(FetchReason),
    Failed(u32),
}

#[derive(Default)]
pub(super) struct Tokens(Mutex<Log>);

struct Log {
    minted: Vec<Minted>,
    last: Last,
    ended: Option<Instant>,
    /// The start of the fetch in flight.
    in_flight: Option<Instant>,
    /// The times of the fetches that 401s have forced.
    forced: Vec<Instant>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            minted: Vec::new(),
            last: Last::None,
            ended: None,
            in_flight: None,
            forced: Vec::new(),
        }
    }
}

impl Tokens {
    /// Whether the upstream takes this token now. A token that it does not take was refused.
    pub(super) fn takes(&self, authorization: &str) -> bool {
        let mut log = self.0.lock().unwrap();
        let value = authorization.strip_prefix("Bearer ").unwrap_or_default();
        let Some(token) = log.minted.iter_mut().find(|token| token.value == value) else {
            return false;
        };
        let is_good = !token.revoked && token.at.elapsed() < token.lifetime;
        token.refused |= !is_good;
        is_good
    }

    pub(super) fn is_known(&self, authorization: &str) -> bool {
        let log = self.0.lock().unwrap();
        let value = authorization.strip_prefix("Bearer ").unwrap_or_default();
        log.minted.iter().any(|token| token.value == value)
    }

    /// Revokes the latest token.
    pub(super) fn revoke(&self) {
        if let Some(token) = self.0.lock().unwrap().minted.last_mut() {
            token.revoked = true;
        }
    }

    pub(super) fn mints(&self) -> usize {
        self.0.lock().unwrap().minted.len()
    }
}

/// The bounds on fetches, for the default settings of the token cache.
impl Log {
    /// Checks the start of a fetch. The error says which bound it exceeds.
    fn check(&mut self, reason: FetchReason, now: Instant, steps: u32) -> Result<(), String> {
        // A fetch that takes longer than its time limit is given up.
        if self.in_flight.is_some_and(|began| now < began + Duration::from_secs(10)) {
            return Err("two fetches of a token at a time".to_owned());
        }
        let since = |then: Option<Instant>| then.map_or(Duration::MAX, |then| now - then);
        let ms = Duration::from_millis;
        match self.last {
            Last::Failed(number) => {
                let pause = Duration::from_secs(60)
                    .min(Duration::from_secs(1) * (1 << (number - 1).min(6)));
                if since(self.ended) + ms(5) < pause.mul_f64(0.8) {
                    return Err(format!(
                        "a fetch {:?} after failure {number} in a row",
                        since(self.ended)
                    ));
                }
            }
            // A 401 forces a fetch, however late the token came, unless a fetch was forced just now.
            Last::Same(before)
                if (reason == FetchReason::Proactive
                    || reason == FetchReason::Rejected && before == FetchReason::Rejected)
                    && since(self.ended) + ms(5) < ms(2000) =>
            {
                return Err("a fetch at once after the same token".to_owned());
            }
            Last::None | Last::New | Last::Same(_) => {}
        }
        let Some(token) = self.minted.last() else {
            return match reason {
                FetchReason::Cold => Ok(()),
                other => Err(format!("the first fetch is {other:?}")),
            };
        };
        match reason {
            FetchReason::Rejected => {
                if !token.refused && self.last == Last::New {
                    return Err("a fetch for a token that was not refused".to_owned());
                }
                self.forced.push(now);
                let window = Duration::from_secs(300);
                let recent = self.forced.iter().filter(|at| now - **at <= window).count();
                if recent > 3 + 10 + 1 {
                    return Err(format!("{recent} forced fetches within {window:?}"));
                }
            }
            _ if self.last == Last::New => {
                let wall = wall_clock().duration_since(token.wall).unwrap_or_default();
                let age = token.at.elapsed().max(wall);
                let margin = Duration::from_secs(225).min(token.believed / 2);
                if age + ms(5) < token.believed - margin && steps == 0 {
                    return Err(format!("a {reason:?} fetch for a token of the age {age:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The source of a simulation.
pub(super) struct Source(pub(super) Arc<World>);

impl TokenSource for Source {
    fn fetch(&self, reason: FetchReason) -> TokenFuture<'_> {
        let world = Arc::clone(&self.0);
        Box::pin(async move {
            let now = Instant::now();
            world.event("fetch", || format!("{reason:?}"));
            let steps = world.state().steps;
            let checked = {
                let mut log = world.tokens.0.lock().unwrap();
                let checked = log.check(reason, now, steps);
                log.in_flight = Some(now);
                checked
            };
            if let Err(why) = checked {
                world.violated(format!("token mints: {why}"));
            }
            // A fetch that is given up counts as failed.
            let landing = Landing { world: Arc::clone(&world), began: now, is_over: false };
            let result = fetch(&world).await;
            let is_unknown = world.happens(10);
            landing.end(reason, &result, is_unknown);
            let (value, lifetime) = result?;
            let lifetime = (!is_unknown).then_some(lifetime);
            Ok(AccessToken::new(value, lifetime)?)
        })
    }
}

type Fetched = Result<(String, Duration), BoxError>;

async fn fetch(world: &World) -> Fetched {
    sleep(world.millis(0..300)).await;
    if world.happens(world.plan.token_faults) {
        match world.draw(|rng| rng.u32(0..4)) {
            0 => std::future::pending::<()>().await,
            1 => {
                sleep(world.millis(0..12_000)).await;
                return Err("the token endpoint is out of order".into());
            }
            2 => return Err("the token endpoint refuses".into()),
            _ => {
                let log = world.tokens.0.lock().unwrap();
                if let Some(last) = log.minted.last() {
                    let left = last.lifetime.saturating_sub(last.at.elapsed());
                    return Ok((last.value.clone(), left));
                }
            }
        }
    }
    let lifetime = Duration::from_secs(world.plan.token_lifetime);
    let number = world.tokens.mints() + 1;
    Ok((format!("token-{number}"), lifetime))
}

/// Records how a fetch ends.
struct Landing {
    world: Arc<World>,
    began: Instant,
    is_over: bool,
}

impl Landing {
    fn end(mut self, reason: FetchReason, result: &Fetched, is_unknown: bool) {
        self.is_over = true;
        let mut log = self.world.tokens.0.lock().unwrap();
        log.land(self.began);
        match result {
            // The cache does not take a token without a rest of its life.
            Ok((_, lifetime)) if lifetime.is_zero() && !is_unknown => log.fail(),
            Ok((value, lifetime)) => {
                if let Some(same) = log.minted.iter_mut().find(|token| token.value == *value) {
                    same.wall = wall_clock();
                    log.last = Last::Same(reason);
                    return;
                }
                log.minted.push(Minted {
                    value: value.clone(),
                    at: Instant::now(),
                    wall: wall_clock(),
                    lifetime: *lifetime,
                    believed: if is_unknown { Duration::from_secs(240) } else { *lifetime },
                    revoked: false,
                    refused: false,
                });
                log.last = Last::New;
            }
            Err(_) => log.fail(),
        }
    }
}

impl Log {
    fn land(&mut self, began: Instant) {
        if self.in_flight == Some(began) {
            self.in_flight = None;
        }
        self.ended = Some(Instant::now());
    }

    fn fail(&mut self) {
        self.last = match self.last {
            Last::Failed(number) => Last::Failed(number + 1),
            _ => Last::Failed(1),
        };
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.is_over {
            self.world.event("fetch given up", || "");
            let mut log = self.world.tokens.0.lock().unwrap();
            log.land(self.began);
            log.fail();
        }
    }
}
