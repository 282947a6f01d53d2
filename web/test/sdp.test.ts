import { describe, expect, it } from "vitest";
import { answeredVideoCodec, h264First, sessionUrl, withStartBitrate, withStereoOpus } from "../src/sdp";

const AUDIO =
  "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n";

describe("stereo Opus", () => {
  it("is added to the format parameters once", () => {
    const changed = withStereoOpus(AUDIO);
    expect(changed).toContain("a=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\n");
    expect(withStereoOpus(changed)).toBe(changed);
  });

  it("leaves other descriptions alone", () => {
    const video = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n";
    expect(withStereoOpus(video)).toBe(video);
  });
});

describe("start bitrate", () => {
  it("goes to the video codecs only, not to their retransmissions and not to the sound", () => {
    const video =
      "m=video 9 X 96 97\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=fmtp:97 apt=96\r\n";
    const changed = withStartBitrate(`v=0\r\n${video}${AUDIO}`, 1_500_000);
    expect(changed).toBe(
      `v=0\r\n${video.replace("packetization-mode=1", "packetization-mode=1;x-google-start-bitrate=1500")}${AUDIO}`,
    );
  });
});

describe("codec preference", () => {
  it("puts H.264 first, packetization mode 1 before 0, and keeps the rest in order", () => {
    const codecs = [
      { mimeType: "video/VP8" },
      { mimeType: "video/rtx" },
      { mimeType: "video/H264", sdpFmtpLine: "packetization-mode=0" },
      { mimeType: "video/H264", sdpFmtpLine: "packetization-mode=1;profile-level-id=42e01f" },
      { mimeType: "video/AV1" },
    ];
    expect(h264First(codecs).map((codec) => codecs.indexOf(codec))).toEqual([3, 2, 0, 1, 4]);
  });
});

describe("session address", () => {
  it("may be relative to the request", () => {
    expect(sessionUrl("/whep/sessions/1", "https://a.example/whep/main")).toBe("https://a.example/whep/sessions/1");
    expect(sessionUrl("https://b.example/s/1", "https://a.example/whep/main")).toBe("https://b.example/s/1");
    expect(sessionUrl(null, "https://a.example/whep/main")).toBeNull();
    expect(sessionUrl("http://[", "https://a.example/whep/main")).toBeNull();
  });
});

describe("answered codec", () => {
  it("is the first of the video section", () => {
    expect(answeredVideoCodec(`${AUDIO}m=video 9 UDP/TLS/RTP/SAVPF 98\r\na=rtpmap:98 H264/90000\r\n`)).toBe("H264");
  });

  it("is null when video was refused or is absent", () => {
    expect(answeredVideoCodec(AUDIO)).toBeNull();
    expect(answeredVideoCodec("m=video 0 UDP/TLS/RTP/SAVPF 98\r\na=rtpmap:98 H264/90000\r\n")).toBeNull();
  });
});
