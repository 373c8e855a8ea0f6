"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const episodes = JSON.parse(get("episodes").textContent);
  const words = (value) => (value === null ? "not defined" : value ? "yes" : "no");
  const filters = [
    ["scenario", "Scenario", (e) => e.scenario],
    ["arm", "Arm", (e) => e.arm],
    ["seed", "Seed", (e) => e.seed],
    ["phase", "Played in", (e) => e.phase],
    ["success", "Success", (e) => words(e.success)],
    ["invalid", "Invalid texts", (e) => (e.invalid ? "some" : "none")],
  ];
  let shown = [];
  let index = 0;
  let step = 0;

  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const figure = (value) => (value === null || value === undefined ? "-" : String(Number(value.toFixed(4))));
  const share = (value) => (value === null ? "?" : value >= 0.9995 ? "1.00" : value < 0.01 ? value.toExponential(0) : value.toFixed(2));

  function addOption(select, value, text) {
    const option = make("option", "", text);
    option.value = value;
    select.append(option);
  }

  function makeFilters() {
    for (const [id, name, of] of filters) {
      const values = [...new Set(episodes.map(of))];
      const label = make("label", "", name + " ");
      const select = make("select");
      select.id = "filter-" + id;
      addOption(select, "", "all");
      values.forEach((value, n) => addOption(select, String(n), value));
      select.addEventListener("change", choose);
      label.append(select);
      label.hidden = values.length < 2;
      select.chosen = () => (select.value === "" ? null : values[Number(select.value)]);
      get("filters").append(label);
    }
  }

  function passes(episode) {
    return filters.every(([id, , of]) => {
      const wanted = get("filter-" + id).chosen();
      return wanted === null || of(episode) === wanted;
    });
  }

  function total(episode) {
    return Object.values(episode.returns).map(figure).join(" / ");
  }

  function choose() {
    shown = episodes.filter(passes);
    const select = get("episode");
    select.replaceChildren();
    shown.forEach((e, n) => {
      const when = e.phase === "evaluation" ? "evaluation after update " : "training, update ";
      addOption(select, String(n), `${n + 1}: ${when}${figure(e.update)}, seed ${e.seed}, return ${total(e)}`);
    });
    select.disabled = !shown.length;
    go(0);
  }

  function go(to) {
    index = Math.max(0, Math.min(to, shown.length - 1));
    get("episode").value = String(index);
    step = 0;
    draw();
  }

  function goStep(to) {
    step = to;
    draw();
  }

  // One place more than steps: the end, with what each agent reads last.
  const lastPlace = () => (shown.length ? shown[index].steps.length : 0);

  function soFar(episode, agent, until) {
    let sum = 0;
    episode.steps.slice(0, until + 1).forEach((s, t) => {
      sum += episode.discount ** t * ((s.rewards[agent] || 0) + (s.penalties[agent] || 0));
    });
    return sum;
  }

  function draw() {
    const episode = shown[index];
    const last = lastPlace();
    step = Math.max(0, Math.min(step, last));
    get("step").max = String(last);
    get("step").value = String(step);
    get("first-step").disabled = get("previous-step").disabled = step === 0;
    get("last-step").disabled = get("next-step").disabled = step === last;
    get("previous-episode").disabled = index === 0;
    get("next-episode").disabled = index >= shown.length - 1;
    const stage = get("stage");
    stage.replaceChildren();
    if (!episode) {
      get("summary").textContent = "No episode passes these filters.";
      get("place").textContent = "";
      return;
    }
    get("summary").textContent =
      `${episode.scenario}, ${episode.arm}: ${episode.ending} after ${episode.steps.length} steps, ` +
      `return ${total(episode)}, success: ${words(episode.success)}, invalid texts: ${episode.invalid}`;
    get("place").textContent = step === last ? "the end" : `step ${step + 1} of ${last}`;
    if (step === last) drawEnd(stage, episode);
    else episode.steps[step].agents.forEach((agent) => stage.append(drawAgent(episode, agent)));
  }

  function drawEnd(stage, episode) {
    for (const [agent, text] of Object.entries(episode.final)) {
      const box = make("div", "agent");
      box.append(make("h3", "", agent), make("p", "what", "reads at the end"), make("pre", "observation", text));
      box.append(make("p", "result", `return ${figure(episode.returns[agent])}`));
      stage.append(box);
    }
    if (!Object.keys(episode.final).length) stage.append(make("p", "", "The end."));
  }

  function drawAgent(episode, agent) {
    const box = make("div", "agent");
    box.append(make("h3", "", agent.agent), make("p", "what", "reads"), make("pre", "observation", agent.observation));
    if (agent.feedback) box.append(make("p", "what", "is told"), make("pre", "feedback", agent.feedback));
    box.append(make("p", "what", agent.tokens.length ? "replies (each token with its probability)" : "replies"));
    box.append(drawReply(agent));
    const result = make("div", "result");
    const valid = agent.outcome === "parsed";
    const said = valid ? "action: " + agent.action : agent.outcome + ": no legal action";
    result.append(make("span", valid ? "outcome" : "outcome invalid", said));
    const now = episode.steps[step];
    result.append(make("span", "reward", "reward " + figure(now.rewards[agent.agent])));
    if (now.penalties[agent.agent]) result.append(make("span", "penalty", "penalty " + figure(now.penalties[agent.agent])));
    result.append(make("span", "so-far", "return so far " + figure(soFar(episode, agent.agent, step))));
    if (agent.probability !== null) result.append(make("span", "", "probability of the reply " + share(agent.probability)));
    box.append(result);
    return box;
  }

  function drawReply(agent) {
    if (!agent.tokens.length) return make("pre", "reply", agent.reply);
    const line = make("div", "tokens");
    for (const [text, probability] of agent.tokens) {
      const token = make("span", "token");
      const bar = make("small", "", share(probability));
      bar.style.setProperty("--p", 100 * (probability || 0) + "%");
      token.append(make("b", "", text === "" ? "(end)" : text.replaceAll("\n", "\\n")), bar);
      line.append(token);
    }
    return line;
  }

  makeFilters();
  get("episode").addEventListener("change", () => go(Number(get("episode").value)));
  get("previous-episode").addEventListener("click", () => go(index - 1));
  get("next-episode").addEventListener("click", () => go(index + 1));
  get("first-step").addEventListener("click", () => goStep(0));
  get("previous-step").addEventListener("click", () => goStep(step - 1));
  get("next-step").addEventListener("click", () => goStep(step + 1));
  get("last-step").addEventListener("click", () => goStep(lastPlace()));
  get("step").addEventListener("input", () => goStep(Number(get("step").value)));
  choose();
})();
