// The page of /docs: shows /openapi.json and sends requests. Text of the document is only ever set as text.

const TOKEN = "qron.token";
const METHODS = ["get", "put", "post", "patch", "delete"];
const DEEPEST = 6;

let api;

/** An element with attributes and children; a child that is text becomes a text node. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== ""));
  return element;
}

/** What a reference within the document stands for. */
function resolve(value) {
  let left = 8;
  let found = value;
  while (found?.$ref && left-- > 0) {
    found = found.$ref.slice(2).split("/").reduce((at, part) => at?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], api);
  }
  return found ?? {};
}

/** The name of a schema, or its type in words. */
function kind(schema) {
  if (!schema || schema === true) return "any JSON";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.map(kind).join(" or ");
  if (schema.allOf) return schema.allOf.map(kind).join(" with ");
  const types = [schema.type ?? "any JSON"].flat();
  return types.map((type) => (type === "array" ? `list of ${kind(schema.items)}` : type)).join(" or ");
}

/** Limits of a value in words. */
function limits(schema) {
  const said = [];
  const range = (least, most, unit) => {
    if (least !== undefined && most !== undefined) said.push(`${least} to ${most}${unit}`);
    else if (most !== undefined) said.push(`at most ${most}${unit}`);
    else if (least) said.push(`at least ${least}${unit}`);
  };
  range(schema.minimum, schema.maximum, "");
  range(schema.minLength, schema.maxLength, " characters");
  range(schema.minItems, schema.maxItems, " items");
  if (schema.format === "date-time") said.push("RFC 3339");
  if (schema.pattern) said.push(schema.pattern);
  return said.join(", ");
}

/** The schema that has the fields of a value: its own, that of its items, or the one beside null. */
function withFields(schema) {
  const target = resolve(schema);
  if (target.type === "array" || [target.type].flat().includes("array")) return withFields(target.items ?? {});
  const choices = (target.oneOf ?? target.anyOf)?.filter((choice) => choice.type !== "null");
  return choices?.length === 1 ? withFields(choices[0]) : target;
}

/** The fields of an object, those that it takes over from others included. */
function fieldsOf(schema) {
  const target = withFields(schema);
  const parts = (target.allOf ?? []).map(fieldsOf);
  const required = new Set([...(target.required ?? []), ...parts.flatMap((part) => [...part.required])]);
  return { fields: Object.assign({}, ...parts.map((part) => part.fields), target.properties), required };
}

/** A schema, unfolded on demand. */
function schemaView(schema, depth = 0) {
  const target = resolve(schema);
  const box = make("div");
  if (target.description && depth === 0) box.append(make("p", { class: "prose quiet" }, target.description));
  const choices = (target.oneOf ?? target.anyOf)?.filter((choice) => choice.type !== "null") ?? [];
  if (choices.length > 1) {
    for (const choice of choices) box.append(unfolding(kind(choice), choice, depth));
    return box;
  }
  const { fields, required } = fieldsOf(schema);
  const names = Object.keys(fields).sort((a, b) => required.has(b) - required.has(a));
  if (names.length === 0) return box;
  const list = make("div", { class: "fields" });
  for (const name of names) {
    const field = fields[name];
    const said = field.description ?? choiceText(field);
    list.append(make("div", {},
      make("code", {}, name), " ",
      make("span", { class: "quiet" }, [kind(field), required.has(name) ? "required" : "", limits(field)].filter(Boolean).join(", ")),
      make("div", { class: "prose" }, said ?? "")));
    const inner = fieldsOf(field).fields;
    const words = withFields(field);
    if (depth < DEEPEST && (Object.keys(inner).length > 0 || words.enum)) list.append(unfolding(kind(field), field, depth + 1));
  }
  box.append(list);
  return box;
}

function choiceText(schema) {
  return (schema.oneOf ?? schema.anyOf ?? []).map((choice) => choice.description).find(Boolean);
}

/** A part that is made when a person opens it. */
function unfolding(title, schema, depth) {
  const part = make("details", {}, make("summary", {}, title));
  part.addEventListener("toggle", () => {
    if (part.open && part.childElementCount === 1) {
      const words = withFields(schema);
      part.append(words.enum ? make("p", { class: "prose" }, words.description ?? words.enum.join(", ")) : schemaView(schema, depth));
    }
  });
  return part;
}

/** An example of a value, from its examples or made of its required fields. */
function example(schema, depth = 0) {
  const target = resolve(schema);
  if (target.examples?.length) return target.examples[0];
  if (target.default !== undefined) return target.default;
  if (target.enum) return target.enum[0];
  const choice = (target.oneOf ?? target.anyOf)?.find((one) => one.type !== "null");
  if (choice) return example(choice, depth);
  const type = [target.type].flat()[0];
  if (type === "array") return depth < DEEPEST && target.minItems ? [example(target.items, depth + 1)] : [];
  if (type === "object" || target.allOf) {
    const { fields, required } = fieldsOf(target);
    return Object.fromEntries([...required].map((name) => [name, depth < DEEPEST ? example(fields[name], depth + 1) : null]));
  }
  return { string: "text", integer: target.minimum ?? 1, number: 1, boolean: false }[type] ?? null;
}

function answerView(status, answer) {
  const found = resolve(answer);
  const row = make("tr", {}, make("td", {}, make("code", {}, status)));
  const cell = make("td", { class: "prose" }, found.description ?? "");
  for (const [name, header] of Object.entries(found.headers ?? {})) {
    cell.append(make("div", { class: "quiet" }, `Header ${name}: ${header.description ?? ""}`));
  }
  for (const [media, content] of Object.entries(found.content ?? {})) {
    cell.append(content.schema?.$ref || content.schema?.properties
      ? unfolding(`${kind(content.schema)} (${media})`, content.schema, 1)
      : make("div", { class: "quiet" }, media));
  }
  row.append(cell);
  return row;
}

/** The form that sends a request. */
function tryView(path, method, operation) {
  const form = make("form", { class: "try" });
  const inputs = (operation.parameters ?? []).map((parameter) => {
    const schema = resolve(parameter.schema);
    const input = schema.enum
      ? make("select", {}, make("option", { value: "" }, ""), ...schema.enum.map((word) => make("option", {}, word)))
      : make("input", { type: "text", required: parameter.required === true });
    form.append(make("p", {}, make("label", {}, `${parameter.name} `, input)));
    return [parameter, input];
  });
  const media = Object.keys(operation.requestBody?.content ?? {})[0];
  let body;
  if (media === "application/json") {
    body = make("textarea", { "aria-label": "Body", spellcheck: "false" });
    body.value = JSON.stringify(example(operation.requestBody.content[media].schema), null, 2);
    form.append(body);
  } else if (media) {
    body = make("input", { type: "file", "aria-label": "Body" });
    form.append(make("p", {}, body));
  }
  const shown = make("pre", { hidden: true, tabindex: "0" });
  const command = make("pre", { hidden: true, tabindex: "0" });
  const request = () => {
    let target = path;
    const query = new URLSearchParams();
    const headers = {};
    for (const [parameter, input] of inputs) {
      const value = input.value;
      if (value === "") continue;
      if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(value));
      else if (parameter.in === "query") query.set(parameter.name, value);
      else headers[parameter.name] = value;
    }
    const text = query.toString();
    const token = sessionStorage.getItem(TOKEN);
    if (token) headers.Authorization = `Bearer ${token}`;
    if (media === "application/json") headers["Content-Type"] = media;
    return { url: text ? `${target}?${text}` : target, headers };
  };
  form.append(
    make("button", { type: "submit" }, "Send"), " ",
    make("button", { type: "button", onclick: () => { command.textContent = curl(method, request(), body); command.hidden = false; } }, "Show as curl"),
    command, shown);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { url, headers } = request();
    shown.hidden = false;
    shown.textContent = "…";
    try {
      const content = body === undefined ? undefined : body.files ? body.files[0] : body.value;
      const answer = await fetch(url, { method: method.toUpperCase(), headers, body: content });
      const text = await answer.text();
      let told = text;
      try { told = JSON.stringify(JSON.parse(text), null, 2); } catch { /* It is no JSON, and shown as it is. */ }
      shown.textContent = `${answer.status} ${answer.statusText}\n\n${told}`;
    } catch (error) {
      shown.textContent = `no answer: ${error.message}`;
    }
  });
  return form;
}

/** The request as a command; the token is left to a variable. */
function curl(method, { url, headers }, body) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = ["curl", "-X", method.toUpperCase(), quoted(location.origin + url)];
  for (const [name, value] of Object.entries(headers)) {
    parts.push("-H", name === "Authorization" ? '"Authorization: Bearer $QRON_TOKEN"' : quoted(`${name}: ${value}`));
  }
  if (body?.files) parts.push("--data-binary", "@FILE");
  else if (body) parts.push("-d", quoted(body.value));
  return parts.join(" ");
}

function operationView(path, method, operation) {
  const view = make("details", { class: "operation", id: operation.operationId },
    make("summary", {}, make("span", { class: "method path" }, method.toUpperCase()), make("span", { class: "path" }, path), " ",
      make("span", { class: "quiet" }, operation.summary ?? "")));
  view.addEventListener("toggle", () => {
    if (!view.open || view.childElementCount > 1) return;
    if (operation.description) view.append(make("p", { class: "prose" }, operation.description));
    const parameters = operation.parameters ?? [];
    if (parameters.length > 0) {
      view.append(make("h4", {}, "Parameters"), make("table", {}, ...parameters.map((parameter) => make("tr", {},
        make("td", {}, make("code", {}, parameter.name)),
        make("td", { class: "quiet" }, [parameter.in, kind(parameter.schema), parameter.required ? "required" : "", limits(resolve(parameter.schema))].filter(Boolean).join(", ")),
        make("td", { class: "prose" }, parameter.description ?? "")))));
    }
    for (const [media, content] of Object.entries(operation.requestBody?.content ?? {})) {
      view.append(make("h4", {}, `Body: ${kind(content.schema)} (${media})`), schemaView(content.schema));
    }
    view.append(make("h4", {}, "Answers"),
      make("table", {}, ...Object.entries(operation.responses).map(([status, answer]) => answerView(status, answer))),
      make("h4", {}, "Try it"), tryView(path, method, operation));
  });
  return view;
}

function show(found) {
  api = found;
  document.getElementById("version").textContent = `${api.info.summary} Version ${api.info.version}, OpenAPI ${api.openapi}.`;
  document.getElementById("about").replaceChildren(
    make("p", { class: "prose" }, api.info.description),
    make("p", {}, make("a", { href: "/openapi.json" }, "openapi.json"), " for programs, ", make("a", { href: "/llms.txt" }, "llms.txt"), " for language models."));
  const contents = document.getElementById("contents");
  const operations = document.getElementById("operations");
  operations.replaceChildren();
  for (const tag of api.tags) {
    const list = make("ul");
    const section = make("section", {}, make("h2", {}, tag.name), make("p", { class: "quiet" }, tag.description ?? ""));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of METHODS) {
        const operation = item[method];
        if (operation?.tags?.[0] !== tag.name) continue;
        section.append(operationView(path, method, operation));
        list.append(make("li", { "data-text": `${method} ${path} ${operation.operationId} ${operation.summary}`.toLowerCase() },
          make("a", { href: `#${operation.operationId}` }, operation.operationId)));
      }
    }
    contents.append(make("h2", {}, tag.name), list);
    operations.append(section);
  }
}

/** Opens the operation that the address names. */
function openNamed() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches("details.operation")) {
    named.open = true;
    named.scrollIntoView();
  }
}

document.getElementById("find").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const entry of document.querySelectorAll("#contents li")) entry.hidden = !entry.dataset.text.includes(wanted);
});
const token = document.getElementById("token");
token.value = sessionStorage.getItem(TOKEN) ?? "";
token.addEventListener("input", () => sessionStorage.setItem(TOKEN, token.value.trim()));
document.getElementById("access").addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", openNamed);

try {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  show(await answer.json());
  openNamed();
} catch (error) {
  document.getElementById("operations").replaceChildren(make("p", {}, `/openapi.json cannot be read: ${error.message}. Load the page again.`));
}
