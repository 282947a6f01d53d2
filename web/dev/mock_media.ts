/** Answers WHEP and WHIP inside the page, so that pictures move without an engine. Development only. */

const realFetch = window.fetch.bind(window);
const senders = new Map<string, RTCPeerConnection>();

/** A test picture with a clock, and a quiet tone. */
function testMedia(): MediaStream {
  const canvas = document.createElement("canvas");
  canvas.width = 1280;
  canvas.height = 720;
  const context = canvas.getContext("2d");
  const draw = (): void => {
    if (!context) return;
    const sky = context.createLinearGradient(0, 0, 0, 720);
    sky.addColorStop(0, "#27456e");
    sky.addColorStop(1, "#6a4a3c");
    context.fillStyle = sky;
    context.fillRect(0, 0, 1280, 720);
    context.fillStyle = "#f2e8d8";
    context.font = "bold 96px sans-serif";
    context.fillText(new Date().toISOString().slice(11, 22), 380, 380);
    context.beginPath();
    context.arc(640 + 500 * Math.cos(performance.now() / 900), 520, 40, 0, 7);
    context.fill();
  };
  setInterval(draw, 33);
  draw();
  const media = canvas.captureStream(30);
  const audio = new AudioContext().createMediaStreamDestination();
  for (const track of audio.stream.getAudioTracks()) media.addTrack(track);
  return media;
}

async function gathered(connection: RTCPeerConnection): Promise<void> {
  while (connection.iceGatheringState !== "complete") {
    await new Promise((resolve) => connection.addEventListener("icegatheringstatechange", resolve, { once: true }));
  }
}

/** The other end has no candidates of ours (they are not waited for), but it is in the same page: it is told later. */
async function answer(offer: string, send: boolean): Promise<Response> {
  const connection = new RTCPeerConnection();
  const id = crypto.randomUUID();
  senders.set(id, connection);
  await connection.setRemoteDescription({ type: "offer", sdp: offer });
  if (send) {
    const media = testMedia();
    for (const transceiver of connection.getTransceivers()) {
      const track = media.getTracks().find((candidate) => candidate.kind === transceiver.receiver.track.kind);
      if (track) await transceiver.sender.replaceTrack(track);
      transceiver.direction = "sendonly";
    }
  } else {
    await realFetch("/mock/publishing", { method: "POST" });
  }
  await connection.setLocalDescription(await connection.createAnswer());
  await gathered(connection);
  return new Response(connection.localDescription?.sdp, { status: 201, headers: { location: `/mock/sessions/${id}` } });
}

window.fetch = async (input, init) => {
  const url = new URL(input instanceof Request ? input.url : String(input), location.href);
  const method = init?.method ?? "GET";
  if (method === "OPTIONS" && /^\/wh[ei]p/.test(url.pathname)) return new Response(null, { status: 204 });
  if (method === "POST" && url.pathname.startsWith("/whep/")) return answer(String(init?.body), true);
  if (method === "POST" && url.pathname === "/whip") {
    const key = new Headers(init?.headers).get("authorization")?.replace("Bearer ", "") ?? "";
    const asked = await realFetch(`/mock/key?key=${encodeURIComponent(url.searchParams.has("takeover") ? "" : key)}`);
    const { refusal } = (await asked.json()) as { refusal: { status: number } | null };
    if (refusal) return Response.json(refusal, { status: refusal.status });
    return answer(String(init?.body), false);
  }
  if (method === "DELETE" && url.pathname.startsWith("/mock/sessions/")) {
    senders.get(url.pathname.split("/").pop() ?? "")?.close();
    if (location.pathname === "/studio") await realFetch("/mock/publishing", { method: "DELETE" });
    return new Response(null, { status: 200 });
  }
  return realFetch(input, init);
};
