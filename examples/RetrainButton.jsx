// A button that retrains, shows how far the run is, and can cancel it.
//
//   <RetrainButton />                                        on a page of the service's own origin
//   <RetrainButton url="https://clm.example" apiKey={key} models={["lightgbm"]} onEnd={run => …} />
//
// From another origin the service must list the page's in CLM_CORS_ORIGINS, and the key needs the role `operate`.
// Whoever can open the page can read that key: fine for a desk of your own, otherwise let your backend add it.

import { useEffect, useRef, useState } from "react";

const OVER = ["completed", "failed", "cancelled"];

/** The JSON of an answer; throws an Error with the problem document's `detail` and the answer's `status`. */
async function ask(url, apiKey, path, options = {}) {
  const headers = { ...(apiKey && { "X-API-Key": apiKey }), ...options.headers };
  const answer = await fetch(`${url}/api/clm/${path}`, { ...options, headers });
  const said = await answer.json().catch(() => ({}));
  // 409 to a retrain names the run that is under way: that one is shown.
  if (answer.ok || (answer.status === 409 && said.run_id)) return said;
  const later = answer.headers.get("Retry-After");
  const message = `${said.detail ?? answer.statusText}${later ? ` (again in ${later} s)` : ""}`;
  throw Object.assign(new Error(message), { status: answer.status });
}

export default function RetrainButton({ url = "", apiKey, models = null, force = false, poll = 1000, onEnd }) {
  const [run, setRun] = useState(null);
  const [problem, setProblem] = useState(null);
  const [asking, setAsking] = useState(false);
  const timer = useRef(null);
  const gone = useRef(false);

  // A run goes on without the page; only looking at it ends here.
  useEffect(() => {
    gone.current = false;
    return () => {
      gone.current = true;
      clearTimeout(timer.current);
    };
  }, []);

  async function look(runId) {
    try {
      const found = await ask(url, apiKey, `runs/${runId}`);
      if (gone.current) return;
      setProblem(null);
      setRun(found);
      if (OVER.includes(found.status)) return onEnd?.(found);
    } catch (error) {
      if (gone.current) return;
      setProblem(error.message);
      // A refusal stays one. No answer: the service may be restarting, and takes the run up again.
      if (error.status < 500) return setRun(null);
    }
    timer.current = setTimeout(() => look(runId), poll);
  }

  async function start() {
    setAsking(true);
    setProblem(null);
    try {
      const body = JSON.stringify({ models, force });
      const started = await ask(url, apiKey, "retrain", {
        method: "POST", body, headers: { "Content-Type": "application/json" },
      });
      setRun({ run_id: started.run_id, status: "running", progress: null });
      look(started.run_id);
    } catch (error) {
      setProblem(error.message);
    } finally {
      setAsking(false);
    }
  }

  async function cancel() {
    try {
      await ask(url, apiKey, `runs/${run.run_id}/cancel`, { method: "POST" });
    } catch (error) {
      setProblem(error.message); // it has just ended: the next look shows how
    }
  }

  const running = run !== null && !OVER.includes(run.status);
  const progress = run?.progress;
  const promoted = run?.report?.promoted_models ?? [];
  return (
    <div className="retrain">
      <button onClick={start} disabled={asking || running}>
        {running ? "Retraining…" : "Retrain"}
      </button>
      {running && <button onClick={cancel}>Cancel</button>}
      {running && <progress value={progress?.done ?? 0} max={progress?.total || 1} />}
      <p role="status">
        {running && (progress?.message ?? "waiting for a worker")}
        {run?.status === "completed" && `Completed; new champions: ${promoted.join(", ") || "none"}`}
        {run?.status === "failed" && `Failed: ${run.error}`}
        {run?.status === "cancelled" && "Cancelled; what it had finished stays"}
      </p>
      {problem && <p role="alert">{problem}</p>}
    </div>
  );
}
