import { afterEach, describe, expect, it, vi } from "vitest";
import type { LiveState } from "../src/api/types";
import {
  DENIED_RETRY_MS,
  type Effect,
  EVENTS_GRACE_MS,
  NO_FRAME_LIMIT_MS,
  PARALLEL_HLS_MS,
  Recovery,
  type RecoveryEvent,
  type RecoveryOptions,
  type Transport,
} from "../src/player/recovery";
import { whenFirstFrame } from "../src/player/transport";
import { liveState, NO_B_FRAMES, offAir } from "./live_state";

/** A player on a virtual clock: events go in, the transports running now can be looked at. */
class Bench {
  now = 0;
  readonly running = new Set<Transport>();
  readonly effects: Effect[] = [];
  readonly recovery: Recovery;

  constructor(options: Partial<RecoveryOptions> = {}) {
    this.recovery = new Recovery(
      {
        choice: "auto",
        webrtcAvailable: true,
        hlsAvailable: true,
        canDecode: () => true,
        random: () => 0.5,
        ...options,
      },
      0,
    );
  }

  send(event: RecoveryEvent): this {
    for (const effect of this.recovery.handle(event, this.now)) {
      this.effects.push(effect);
      if (effect.type === "start") {
        expect(this.running.has(effect.transport), `${effect.transport} started twice`).toBe(false);
        this.running.add(effect.transport);
      } else this.running.delete(effect.transport);
    }
    return this;
  }

  fail(transport: Transport, code = "broken", permanent = false): this {
    this.running.delete(transport);
    return this.send({ type: "failed", transport, failure: { code, detail: "It broke.", permanent } });
  }

  server(state: LiveState): this {
    return this.send({ type: "server", state });
  }

  /** Lets time pass in the player's tick; `frames` keeps that transport decoding. */
  pass(ms: number, frames?: Transport, latencyMs: number | null = 20): this {
    for (const end = this.now + ms; this.now < end; ) {
      this.now += 250;
      this.send(frames ? { type: "frames", transport: frames, latencyMs } : { type: "tick" });
    }
    return this;
  }

  play(transport: Transport = "webrtc"): this {
    return this.server(liveState()).send({ type: "ice_connected" }).send({ type: "first_frame", transport });
  }

  get phase(): string {
    return this.recovery.view(this.now).phase;
  }

  get code(): string {
    return this.recovery.view(this.now).code;
  }

  get fallback(): string | null {
    return this.recovery.view(this.now).fallback?.code ?? null;
  }

  starts(transport: Transport): number {
    return this.effects.filter((effect) => effect.type === "start" && effect.transport === transport).length;
  }
}

describe("first picture", () => {
  it("asks nothing of the media endpoints while the stream is off air", () => {
    const bench = new Bench().server(offAir()).pass(60_000);
    expect(bench.effects).toEqual([]);
    expect(bench.phase).toBe("waiting");
  });

  it("starts WebRTC alone as soon as the stream is on air", () => {
    const bench = new Bench().server(offAir()).pass(5000).server(liveState());
    expect([...bench.running]).toEqual(["webrtc"]);
    expect(bench.phase).toBe("starting");
  });

  it("tries to play when the server's events do not come", () => {
    const bench = new Bench().pass(750);
    expect(bench.effects).toEqual([]);
    bench.pass(250);
    expect([...bench.running]).toEqual(["webrtc"]);
  });

  it("starts HLS beside WebRTC after 4 s without a frame, not before", () => {
    const bench = new Bench().server(liveState()).pass(3750);
    expect([...bench.running]).toEqual(["webrtc"]);
    bench.pass(250);
    expect([...bench.running].sort()).toEqual(["hls", "webrtc"]);
  });

  it("keeps whichever shows a frame first and stops the other", () => {
    const hlsFirst = new Bench().server(liveState()).pass(4000).send({ type: "first_frame", transport: "hls" });
    expect([...hlsFirst.running]).toEqual(["hls"]);
    expect(hlsFirst.fallback).toBe("udp_blocked");
    const rtcFirst = new Bench().server(liveState()).pass(4000).send({ type: "first_frame", transport: "webrtc" });
    expect([...rtcFirst.running]).toEqual(["webrtc"]);
    expect(rtcFirst.fallback).toBeNull();
  });

  it("does not blame UDP when WebRTC had connected", () => {
    const bench = new Bench().server(liveState()).send({ type: "ice_connected" }).pass(4000);
    bench.send({ type: "first_frame", transport: "hls" });
    expect(bench.fallback).toBe("webrtc_no_frames");
  });

  it("takes HLS at once for B-frames, with the server's reason", () => {
    const bench = new Bench().server(liveState({ webrtc: NO_B_FRAMES }));
    expect([...bench.running]).toEqual(["hls"]);
    expect(bench.recovery.view(0).fallback).toEqual({
      code: "b_frames",
      reason: NO_B_FRAMES.reason,
      fix: NO_B_FRAMES.fix,
    });
  });

  it("takes HLS at once when WHEP answers that it cannot play this, and never asks it again for this broadcast", () => {
    const bench = new Bench().server(liveState()).fail("webrtc", "codec_not_playable", true);
    expect([...bench.running]).toEqual(["hls"]);
    bench.fail("hls").pass(20_000);
    expect(bench.starts("webrtc")).toBe(1);
    bench.server(liveState({ epoch: 2 }));
    expect(bench.running.has("webrtc")).toBe(true);
  });

  it("uses HLS without WebRTC in the browser, and says so", () => {
    const bench = new Bench({ webrtcAvailable: false }).server(liveState());
    expect([...bench.running]).toEqual(["hls"]);
    expect(bench.fallback).toBe("webrtc_off");
  });

  it("waits for HLS while its playlist is not there yet", () => {
    const starting = { playable: false, code: "starting", reason: null, fix: null };
    const bench = new Bench({ choice: "hls" }).server(liveState({ hls: starting })).pass(3000);
    expect(bench.effects).toEqual([]);
    expect(bench.phase).toBe("starting");
    bench.server(liveState());
    expect([...bench.running]).toEqual(["hls"]);
  });

  it("says when neither way can show the stream", () => {
    const hls = { playable: false, code: "codec_not_hls", reason: "VP8.", fix: null };
    expect(new Bench({ webrtcAvailable: false }).server(liveState({ hls })).phase).toBe("unplayable");
    const hevc = new Bench({ canDecode: () => false }).server(liveState({ webrtc: NO_B_FRAMES }));
    expect([hevc.phase, hevc.code, hevc.effects.length]).toEqual(["unplayable", "browser_codec", 0]);
  });
});

describe("while playing", () => {
  it("stays with one transport while frames come", () => {
    const bench = new Bench().play().pass(120_000, "webrtc");
    expect(bench.phase).toBe("playing");
    expect(bench.effects.length).toBe(1);
  });

  it("says at once that the publisher's picture stopped, and leaves the session alone", () => {
    const bench = new Bench().play().pass(5000, "webrtc");
    bench.pass(1500).server(liveState({ state: "no_media", media_age_ms: 1500 }));
    expect([bench.phase, bench.code]).toEqual(["stalled", "publisher_stopped"]);
    bench.pass(30_000);
    expect([...bench.running]).toEqual(["webrtc"]);
    expect(bench.effects.length).toBe(1);
    expect(bench.recovery.view(bench.now).mediaAgeMs).toBe(31_500);
  });

  it("continues in the same session when the publisher returns", () => {
    const bench = new Bench()
      .play()
      .pass(2000)
      .server(liveState({ state: "no_media" }))
      .pass(20_000);
    bench.server(liveState()).pass(500, "webrtc");
    expect(bench.phase).toBe("playing");
    expect(bench.effects.length).toBe(1);
  });

  it("takes a fresh session when the picture stays late after the publisher's return", () => {
    const late = new Bench()
      .play()
      .server(liveState({ state: "no_media" }))
      .pass(5000)
      .server(liveState());
    late.pass(2750, "webrtc", 600);
    expect(late.starts("webrtc")).toBe(1);
    late.pass(250, "webrtc", 600);
    expect([late.starts("webrtc"), [...late.running]]).toEqual([2, ["webrtc"]]);
    const inTime = new Bench()
      .play()
      .server(liveState({ state: "no_media" }))
      .pass(5000)
      .server(liveState());
    inTime.pass(1000, "webrtc", 600).pass(20_000, "webrtc", 30);
    expect(inTime.starts("webrtc")).toBe(1);
  });

  it("replaces a WebRTC session whose frames stop while the publisher sends", () => {
    const bench = new Bench().play().pass(5000, "webrtc").pass(2000);
    expect([bench.phase, bench.code]).toEqual(["reconnecting", "frames_stopped"]);
    expect(bench.starts("webrtc")).toBe(1);
    bench.pass(1500);
    expect(bench.starts("webrtc")).toBe(2);
    bench.pass(4000);
    expect(bench.running.has("hls")).toBe(true);
  });

  it("replaces it after a second when a new broadcast began", () => {
    const bench = new Bench()
      .play()
      .pass(5000, "webrtc")
      .server(liveState({ epoch: 2 }))
      .pass(1500);
    expect(bench.starts("webrtc")).toBe(2);
  });

  it("judges nothing while the page is hidden or the viewer has paused", () => {
    const hidden = new Bench().play().send({ type: "visible", visible: false }).pass(60_000);
    expect(hidden.effects.length).toBe(1);
    hidden.send({ type: "visible", visible: true }).pass(1000);
    expect(hidden.phase).toBe("playing");
    const paused = new Bench().play().send({ type: "paused", paused: true }).pass(60_000);
    expect([paused.phase, paused.effects.length]).toEqual(["paused", 1]);
  });

  it("does not interrupt a viewer who has rewound when the publisher stops", () => {
    const bench = new Bench({ choice: "hls" }).server(liveState()).send({ type: "first_frame", transport: "hls" });
    bench
      .send({ type: "rewound", rewound: true })
      .server(liveState({ state: "no_media" }))
      .pass(5000, "hls");
    expect(bench.phase).toBe("playing");
    bench.pass(2000);
    expect(bench.phase).toBe("stalled");
  });
});

describe("the end, and after it", () => {
  it.each([
    ["finished", "ended", "finished"],
    ["connection_lost", "reconnecting", "publisher_lost"],
    [null, "reconnecting", "publisher_lost"],
  ])("end %s is shown as %s", (lastEnd, phase, code) => {
    const bench = new Bench().play().pass(5000, "webrtc").server(offAir(lastEnd));
    expect([bench.phase, bench.code]).toEqual([phase, code]);
    expect(bench.running.size).toBe(0);
  });

  it("gives up announcing a return after a minute", () => {
    const bench = new Bench().play().server(offAir("connection_lost")).pass(60_000);
    expect([bench.phase, bench.code]).toEqual(["ended", "not_returned"]);
  });

  it("plays what HLS has buffered before it stops", () => {
    const bench = new Bench({ choice: "hls" }).server(liveState()).send({ type: "first_frame", transport: "hls" });
    bench.pass(2000, "hls").server(offAir("finished")).pass(3000, "hls");
    expect([bench.phase, bench.running.has("hls")]).toEqual(["playing", true]);
    bench.pass(1000);
    expect([bench.phase, bench.running.has("hls")]).toEqual(["ended", false]);
  });

  it("plays again by itself when the stream is back on air", () => {
    const bench = new Bench()
      .play()
      .server(offAir("connection_lost"))
      .pass(10_000)
      .server(liveState({ epoch: 2 }));
    expect([...bench.running]).toEqual(["webrtc"]);
    bench.send({ type: "first_frame", transport: "webrtc" });
    expect(bench.phase).toBe("playing");
  });
});

describe("back-off", () => {
  it("grows between failures and never polls in a storm", () => {
    const bench = new Bench({ choice: "webrtc" }).server(liveState());
    for (let elapsed = 0; elapsed < 120_000; elapsed += 250) {
      if (bench.running.has("webrtc")) bench.fail("webrtc", "whep_unreachable");
      bench.pass(250);
    }
    // Half of 0.5, 1, 2, … 30 s: 7 doublings take 32 s, then one attempt each 15 s.
    expect(bench.starts("webrtc")).toBeGreaterThan(8);
    expect(bench.starts("webrtc")).toBeLessThan(16);
  });

  it("obeys Retry-After", () => {
    const bench = new Bench({ choice: "webrtc" }).server(liveState());
    bench.running.clear();
    bench.send({ type: "failed", transport: "webrtc", failure: { code: "try_again", detail: "", retryAfterMs: 7000 } });
    bench.pass(6750);
    expect(bench.starts("webrtc")).toBe(1);
    bench.pass(250);
    expect(bench.starts("webrtc")).toBe(2);
  });

  it("survives a restart of the engine: says the server is away, then plays", () => {
    const bench = new Bench().play().pass(5000, "webrtc").send({ type: "server_lost" });
    bench.fail("webrtc", "ice_failed");
    expect([bench.phase, bench.code]).toEqual(["reconnecting", "server_away"]);
    bench
      .server(offAir())
      .pass(1000)
      .server(liveState({ epoch: 9 }));
    expect(bench.running.has("webrtc")).toBe(true);
    bench.send({ type: "first_frame", transport: "webrtc" });
    expect(bench.phase).toBe("playing");
  });

  it("ignores what a stopped transport still reports", () => {
    const bench = new Bench().play().server(offAir("finished"));
    bench.send({ type: "first_frame", transport: "webrtc" }).fail("webrtc");
    expect([bench.phase, bench.running.size]).toEqual(["ended", 0]);
  });
});

describe("a private stream", () => {
  const refused = (bench: Bench, transport: Transport): void => {
    bench.running.delete(transport);
    const failure = { code: "token_expired", detail: "The token has expired.", denied: true };
    bench.send({ type: "failed", transport, failure });
  };

  it("says so, and does not hammer the server with a refused token", () => {
    const bench = new Bench().send({ type: "denied", code: "token_missing" });
    expect(bench.recovery.view(bench.now)).toMatchObject({ phase: "denied", code: "token_missing" });
    bench.pass(EVENTS_GRACE_MS);
    refused(bench, "webrtc");
    const before = bench.effects.length;
    bench.pass(DENIED_RETRY_MS - 1000);
    expect(bench.effects.slice(before).filter((effect) => effect.transport === "webrtc")).toEqual([]);
    expect(bench.recovery.view(bench.now)).toMatchObject({ phase: "denied", code: "token_expired" });
  });

  it("opens at once with another token", () => {
    const bench = new Bench().server(liveState());
    refused(bench, "webrtc");
    expect(bench.recovery.view(bench.now).phase).toBe("denied");
    bench.send({ type: "new_token" });
    expect(bench.running.has("webrtc")).toBe(true);
    bench.send({ type: "first_frame", transport: "webrtc" });
    expect(bench.recovery.view(bench.now).phase).toBe("playing");
  });

  it("keeps the picture of who is in when the token changes", () => {
    const bench = new Bench().server(liveState()).send({ type: "first_frame", transport: "webrtc" });
    const before = bench.effects.length;
    bench.send({ type: "new_token" }).pass(1000, "webrtc");
    expect(bench.effects).toHaveLength(before);
  });
});

describe("a hidden page", () => {
  const hidden = () => new Bench().send({ type: "visible", visible: false }).server(liveState());

  it("opens one way only, and waits for it as long as it takes", () => {
    const bench = hidden().pass(60_000);
    expect(bench.effects).toEqual([{ type: "start", transport: "webrtc" }]);
  });

  it("tries the other way once the first one failed", () => {
    const bench = hidden().pass(5000).fail("webrtc", "broken", true).pass(60_000);
    expect([...bench.running]).toEqual(["hls"]);
    expect(bench.starts("hls")).toBe(1);
  });

  it("starts its times anew when somebody looks", () => {
    const bench = hidden().pass(60_000).send({ type: "visible", visible: true });
    bench.pass(PARALLEL_HLS_MS - 250);
    expect([...bench.running]).toEqual(["webrtc"]);
    bench.pass(250);
    expect([...bench.running]).toEqual(["webrtc", "hls"]);
    bench.pass(NO_FRAME_LIMIT_MS - PARALLEL_HLS_MS);
    expect(bench.running.has("webrtc")).toBe(false);
  });

  it("asks again at once when somebody looks", () => {
    const bench = hidden().send({
      type: "failed",
      transport: "webrtc",
      failure: { code: "rate_limited", detail: "Too many.", retryAfterMs: 20_000 },
    });
    bench.running.delete("webrtc");
    bench.pass(1000);
    expect(bench.starts("webrtc")).toBe(1);
    bench.send({ type: "visible", visible: true });
    expect(bench.starts("webrtc")).toBe(2);
  });
});

describe("the first frame", () => {
  /** A video whose page is looked at or not; frames are called back for only where somebody looks. */
  function video(hiddenPage: boolean) {
    vi.stubGlobal("document", { hidden: hiddenPage });
    const frames: (() => void)[] = [];
    const fake = Object.assign(new EventTarget(), {
      videoWidth: 1280,
      requestVideoFrameCallback: (callback: () => void) => frames.push(callback),
    });
    let seen = 0;
    whenFirstFrame(fake as unknown as HTMLVideoElement, () => {
      seen += 1;
    });
    return {
      seen: () => seen,
      decode: () => fake.dispatchEvent(new Event("loadeddata")),
      draw: () => frames.shift()?.(),
    };
  }
  afterEach(() => vi.unstubAllGlobals());

  it("is one that is drawn", () => {
    const looked = video(false);
    looked.decode();
    expect(looked.seen()).toBe(0);
    looked.draw();
    expect(looked.seen()).toBe(1);
  });

  it("is one that is decoded where nothing is drawn, and counts once", () => {
    const away = video(true);
    away.decode();
    expect(away.seen()).toBe(1);
    away.draw();
    expect(away.seen()).toBe(1);
  });
});
