// Buttons that steer a run. Each asks first, and says what it takes away; the answer, or why not, is shown.

import { path, post } from './api.js';
import { h, show, text } from './dom.js';
import { counted } from './words.js';

const isOpen = state => state.phase !== 'idle' && state.cohort > 0;
const unfinished = state => counted(Math.max(0, state.cohort - state.reported), 'client');

const ACTIONS = {
  pause: {
    title: 'Pause', on: ['running'],
    says: state => 'The run stops until it is resumed. Committed rounds and reports are kept.' + (isOpen(state)
      ? ` Lost is what ${unfinished(state)} that did not report in round ${state.round} had done of their work; it begins again.` : ''),
  },
  resume: {
    title: 'Resume', on: ['paused', 'failed', 'cancelled'],
    says: state => `The run goes on after its last committed round${state.committed >= 0 ? `, ${state.committed}` : ''}. Nothing is lost.`,
  },
  extend: {
    title: 'Extend', on: ['finished'], isOfMany: true,
    says: state => `The run gets more rounds than its ${state.rounds} and goes on. Nothing is lost.`,
  },
  cancel: {
    title: 'Cancel', on: ['running', 'paused'], isEnd: true,
    says: state => 'The run ends. Committed rounds are kept, and it may be resumed after the last of them.' + (isOpen(state)
      ? ` Lost is the open round ${state.round}, also what ${counted(state.reported, 'client')} of ${state.cohort} have reported in it.`
      : ''),
  },
};

export class Steering {
  constructor(page) {
    this.page = page;
    this.token = null; // kept as long as this page, nowhere else
    this.buttons = Object.entries(ACTIONS).map(([name, action]) =>
      h('button', { type: 'button', class: action.isEnd ? 'danger' : null, 'data-action': name, hidden: true,
        click: () => this.ask(name) }, action.title));
    this.answer = h('span', { class: 'answer', role: 'status' });
    this.element = h('div', { class: 'steering', hidden: !page.steers }, this.buttons, this.answer);
  }

  update(state) {
    this.state = state;
    for (const button of this.buttons) {
      const action = ACTIONS[button.dataset.action];
      show(button, this.page.steers && action.on.includes(state.status) && !(action.isOfMany && this.page.isOfOne));
    }
  }

  ask(name) {
    const action = ACTIONS[name];
    const state = this.state;
    const title = h('h2', { id: 'steer-title' }, `${action.title} `, h('span', { class: 'name' }, this.page.run), '?');
    const rounds = name === 'extend' && h('input', {
      type: 'number', id: 'steer-rounds', min: state.rounds + 1, max: 100000, value: state.rounds + 1, required: true,
    });
    const token = this.page.asksToken && h('input', {
      type: 'password', id: 'steer-token', autocomplete: 'off', required: true, '.value': this.token ?? '',
    });
    const refusal = h('p', { class: 'bad', role: 'alert' });
    const go = h('button', { type: 'submit', class: action.isEnd ? 'danger' : 'main' }, `${action.title} the run`);
    const form = h('form', { submit: event => {
      event.preventDefault();
      if (token) this.token = token.value.trim();
      go.disabled = true;
      this.send(name, rounds ? { rounds: Number(rounds.value) } : {}).then(() => dialog.close(), error => {
        text(refusal, `Not done: ${error.message}`);
        go.disabled = false;
      });
    } },
      title, h('p', {}, action.says(state)),
      rounds && h('label', {}, 'Rounds in all ', rounds),
      token && h('label', {}, 'Token of the operator ', token),
      refusal,
      h('p', { class: 'buttons' }, h('button', { type: 'button', click: () => dialog.close() }, 'Leave it'), go));
    const dialog = h('dialog', { 'aria-labelledby': 'steer-title', close: () => dialog.remove() }, form);
    document.body.append(dialog);
    dialog.showModal();
  }

  async send(name, body) {
    const answer = await post(`${path(this.page.run)}/${name}`, body, this.token);
    text(this.answer, [`${ACTIONS[name].title}: the run is ${answer.status}.`, ...(answer.waits ?? [])].join(' '));
  }
}
