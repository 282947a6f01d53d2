/** Small changes to session descriptions, and what is read out of HTTP answers of WHIP and WHEP. Pure. */

/**
 * Asks for stereo Opus: without `stereo=1` in the receiver's format parameters Chromium decodes to mono.
 * Source: RFC 7587 section 6.1.
 */
export function withStereoOpus(sdp: string): string {
  const payload = /^a=rtpmap:(\d+) opus\/48000/im.exec(sdp)?.[1];
  if (!payload) return sdp;
  const line = new RegExp(`^(a=fmtp:${payload} )(.*)$`, "m");
  return sdp.replace(line, (whole: string, head: string, parameters: string) =>
    /(^|;)\s*stereo=/.test(parameters) ? whole : `${head}${parameters};stereo=1`,
  );
}

/**
 * An answer that lets Chromium begin near the chosen bitrate instead of at 300 kb/s, where it starts with a postage
 * stamp and grows it over half a minute. Other browsers ignore the parameter; congestion control works as ever.
 * Source: libwebrtc, kCodecParamStartBitrate ("x-google-start-bitrate", in kb/s, read from the remote description).
 */
export function withStartBitrate(answer: string, bitrateBps: number): string {
  const parameter = `;x-google-start-bitrate=${Math.round(bitrateBps / 1000)}`;
  return answer
    .split(/^(?=m=)/m)
    .map((section) =>
      section.startsWith("m=video ")
        ? section.replace(/^(a=fmtp:\d+ (?!apt=).*?)(\r?)$/gm, `$1${parameter}$2`)
        : section,
    )
    .join("");
}

export interface CodecLike {
  mimeType: string;
  sdpFmtpLine?: string;
}

/**
 * Codecs with H.264 first, the rest in the browser's order: HLS can carry H.264 without transcoding, VP8 not at all.
 * Among the H.264 entries packetization mode 1 comes first (mode 0 limits a NAL unit to one packet).
 */
export function h264First<Codec extends CodecLike>(codecs: readonly Codec[]): Codec[] {
  const rank = (codec: Codec): number => {
    if (codec.mimeType.toLowerCase() !== "video/h264") return 2;
    return codec.sdpFmtpLine?.includes("packetization-mode=1") ? 0 : 1;
  };
  return codecs
    .map((codec, index) => ({ codec, index }))
    .sort((a, b) => rank(a.codec) - rank(b.codec) || a.index - b.index)
    .map(({ codec }) => codec);
}

/** The session's address from a 201 answer: `Location` may be relative to the request (RFC 9725 section 4.2). */
export function sessionUrl(location: string | null, requestUrl: string): string | null {
  if (!location) return null;
  try {
    return new URL(location, requestUrl).href;
  } catch {
    return null;
  }
}

/** Name of the first sending video codec of an answer, "H264"; null when video was refused or is absent. */
export function answeredVideoCodec(sdp: string): string | null {
  const section = sdp.split(/^m=/m).find((part) => part.startsWith("video "));
  if (!section || section.startsWith("video 0 ")) return null;
  const first = /^video \d+ \S+ (\d+)/.exec(section)?.[1];
  return first ? (new RegExp(`^a=rtpmap:${first} ([^/]+)/`, "m").exec(section)?.[1] ?? null) : null;
}
