"use strict";
// A page that was written as a file has all answers in itself; a served one asks for them.
const embedded = document.getElementById("answers");
const answers = embedded && JSON.parse(embedded.textContent);
const main = document.querySelector("main");
let overview;

async function ask(question, parameters = []) {
  if (answers) {
    if (question === "overview" || question === "dimensions") return answers[question];
    const key = parameters[0][1];
    if (question === "users")
      return {users: overview.users.filter(user => user.toLowerCase().includes(key.toLowerCase()))};
    if (!Object.hasOwn(answers[question] ?? {}, key)) throw new Error(`This page has no ${question} ${key}.`);
    return answers[question][key];
  }
  let response;
  try {
    response = await fetch(`api/${question}?${new URLSearchParams(parameters)}`);
  } catch {
    throw new Error("The explorer does not answer: is its command still running?");
  }
  const isJSON = response.headers.get("Content-Type")?.startsWith("application/json");
  if (!isJSON) throw new Error(`The explorer refused: ${response.status} ${response.statusText}`);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}
