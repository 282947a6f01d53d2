// Joins a stream by WHEP with nothing but the browser's API and measures POST to first decoded picture, in ms.
// Called with the WHEP URL by page.evaluate; resolves once the connection is closed again.
async (url) => {
  const peer = new RTCPeerConnection();
  const video = document.createElement("video");
  video.muted = true;
  video.autoplay = true;
  document.body.append(video);
  const firstFrame = new Promise((resolve, reject) => {
    video.requestVideoFrameCallback(() => resolve(performance.now()));
    setTimeout(() => reject(new Error("no picture after 10 s")), 10_000);
  });
  peer.ontrack = ({ track, streams }) => {
    if (track.kind === "video") video.srcObject = streams[0] ?? new MediaStream([track]);
  };
  peer.addTransceiver("video", { direction: "recvonly" });
  peer.addTransceiver("audio", { direction: "recvonly" });
  await peer.setLocalDescription(await peer.createOffer());
  const postedAt = performance.now();
  const answer = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/sdp" },
    body: peer.localDescription.sdp,
  });
  if (answer.status !== 201) throw new Error(`WHEP answered ${answer.status}: ${await answer.text()}`);
  const session = new URL(answer.headers.get("Location"), url);
  await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  const elapsedMs = (await firstFrame) - postedAt;
  peer.close();
  video.remove();
  await fetch(session, { method: "DELETE" });
  return elapsedMs;
}
