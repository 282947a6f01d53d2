//! `tallylight-engine --config FILE`: reads the configuration, binds everything, runs until told to stop.

use std::future::Future;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallylight_engine::config::{Fatal, FatalCode};
use tallylight_engine::http::front::Front;
use tallylight_engine::http::pages::Pages;
use tallylight_engine::listeners::Listeners;
use tallylight_engine::{Config, Engine, api, http, logging, peers, rtmp, transcode, watcher};
use tallylight_media::EndReason;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Requests and RTMP; WebRTC's packets have a thread of their own. More would only take turns with it.
const WORKERS: usize = 2;
/// For WebRTC answers (1 ms each) and the audio transcoders.
const MAX_BLOCKING_THREADS: usize = 64;
/// The supervisor kills after 2 s; by then everything must be closed.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(1500);
/// "The engine could not start"; the supervisor shows the fatal line and does not try again at once.
const EXIT_FATAL: u8 = 3;

fn main() -> ExitCode {
    let path = match parse_arguments(std::env::args().skip(1).collect()) {
        Command::Run(path) => path,
        Command::Version => {
            println!("tallylight-engine {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Command::Usage => {
            eprintln!("usage: tallylight-engine --config FILE | --version");
            return ExitCode::from(2);
        }
    };
    logging::install();
    match Config::load(&path).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("{}", serde_json::json!({"fatal": fatal}));
            ExitCode::from(EXIT_FATAL)
        }
    }
}

enum Command {
    Run(PathBuf),
    Version,
    Usage,
}

fn parse_arguments(arguments: Vec<String>) -> Command {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--config", path] => Command::Run(path.into()),
        ["--version"] => Command::Version,
        _ => Command::Usage,
    }
}

fn run(config: Config) -> Result<(), Fatal> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Fatal {
            code: FatalCode::AddressNotAvailable,
            message: format!("The system gives no more threads or file descriptors: {error}."),
            fix: "Raise the limits of this user (ulimit -n, ulimit -u).".into(),
        })?;
    let outcome = runtime.block_on(serve(config));
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config) -> Result<(), Fatal> {
    let stop_wanted = stop_wanted(config.exit_when_stdin_closes);
    let (stop, shutdown) = watch::channel(false);
    let listeners = Listeners::bind(&config).await?;
    let engine = Engine::new(config);
    let peers = peers::start(&engine.config, engine.events.clone())?;
    // Nobody else has seen the engine yet, so the place is free.
    let _ = engine.peers.set(peers);
    transcode::install(engine.clone());
    let front = Arc::new(Front::new(engine.clone(), load_pages(&engine.config), shutdown.clone()));
    let http_address = listeners.http.local_addr().ok();
    let rtmp_address = listeners.rtmp.local_addr().ok();

    let mut tasks = JoinSet::new();
    tasks.spawn(api::serve(engine.clone(), listeners.api, shutdown.clone()));
    tasks.spawn(http::server::serve(engine.clone(), front, listeners.http, shutdown.clone()));
    tasks.spawn(rtmp::serve(engine.clone(), listeners.rtmp, shutdown.clone()));
    tasks.spawn(watcher::run(engine.clone(), shutdown));
    engine.events.emit(
        "engine_started",
        &[
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("boot_id", engine.boot_id.clone().into()),
            ("http", http_address.map(|address| address.to_string()).into()),
            ("rtmp", rtmp_address.map(|address| address.to_string()).into()),
        ],
    );

    let reason = stop_wanted.await;
    let began = Instant::now();
    tracing::info!(reason, "engine_stopping");
    shut_down(&engine, &stop, tasks).await;
    tracing::info!(duration_ms = began.elapsed().as_millis() as u64, "engine_stopped");
    Ok(())
}

/// Built pages, or none when there is no directory: the media goes on without them.
fn load_pages(config: &Config) -> Pages {
    let Some(directory) = config.web_dir.as_deref() else { return Pages::default() };
    Pages::load(directory).unwrap_or_else(|error| {
        tracing::warn!(%error, "pages_not_loaded");
        Pages::default()
    })
}

/// Starts watching for a reason to stop at once; the future waits for it and names it.
fn stop_wanted(watch_stdin: bool) -> impl Future<Output = &'static str> {
    let (terminate, interrupt) = (received(SignalKind::terminate()), received(SignalKind::interrupt()));
    let parent = async move {
        match watch_stdin {
            true => stdin_closed().await,
            false => std::future::pending().await,
        }
    };
    async move {
        tokio::select! {
            () = terminate => "sigterm",
            () = interrupt => "sigint",
            () = parent => "parent_gone",
        }
    }
}

/// From this call on the signal no longer kills the process.
fn received(kind: SignalKind) -> impl Future<Output = ()> {
    let signals = signal(kind).inspect_err(|error| tracing::warn!(%error, "signal_not_watched"));
    async move {
        match signals {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Reads standard input to its end on a thread of its own, which the process does not wait for.
async fn stdin_closed() {
    let (closed, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        let mut stdin = std::io::stdin().lock();
        while matches!(stdin.read(&mut buffer), Ok(count) if count > 0) {}
        // The receiver is gone when another reason came first.
        let _ = closed.send(());
    });
    let _ = wait.await;
}

/// Says goodbye to publishers and viewers, then closes the sockets; never takes longer than [`SHUTDOWN_LIMIT`].
async fn shut_down(engine: &Arc<Engine>, stop: &watch::Sender<bool>, mut tasks: JoinSet<()>) {
    let goodbye = async {
        for stream in engine.streams.all() {
            stream.close_publisher(EndReason::Shutdown);
        }
        let _ = stop.send(true);
        engine.with_peers(|peers| peers.shutdown()).await;
        while tasks.join_next().await.is_some() {}
    };
    if tokio::time::timeout(SHUTDOWN_LIMIT, goodbye).await.is_err() {
        tracing::warn!("engine_stop_incomplete");
    }
    if let Err(error) = std::fs::remove_file(&engine.config.engine_socket) {
        tracing::debug!(%error, "socket_not_removed");
    }
}
