"""What the page looks like, beside Gradio's theme."""

CSS = """
.gradio-container { width: 100%; max-width: 1120px !important; margin: 0 auto
  !important; padding: 1.5rem 1rem 3rem !important; }
.gradio-container .app { width: 100%; max-width: none !important;
  padding: 0 !important; }
.gradio-container .html-container { padding: 0 !important; }
.gradio-container .prose { font-size: 1rem; }
header h1 { font-size: 1.4rem; font-weight: 650; margin: 0; line-height: 1.3; }
header p { margin: 0; color: var(--body-text-color-subdued); }
#columns { gap: 1.5rem 2.5rem; align-items: flex-start; }
#video, #form { flex: 1 1 0 !important; }
#video { gap: .75rem; }
.screen { border-radius: 12px; overflow: hidden; max-height: 78vh;
  background: var(--neutral-900); display: flex; margin: 0 auto; }
.screen img { width: 100%; height: 100%; object-fit: contain; margin: 0;
  image-rendering: pixelated; }
.note { min-height: 3rem; line-height: 1.5; display: flex; flex-wrap: wrap;
  gap: 0 1.25rem; align-content: flex-start; }
.note p { margin: 0; font-variant-numeric: tabular-nums; }
.note.fault p { color: var(--error-text-color); overflow-wrap: anywhere;
  border-left: 3px solid var(--error-text-color); padding-left: .7rem; }
.save { color: var(--body-text-color-subdued); }
.save a { margin-left: .6rem; }
progress { appearance: none; width: 100%; height: 6px; border: 0;
  border-radius: 3px; overflow: hidden; margin-top: .4rem;
  background: var(--border-color-primary); }
progress::-webkit-progress-bar { background: var(--border-color-primary); }
progress::-webkit-progress-value { background: var(--primary-500); }
progress::-moz-progress-bar { background: var(--primary-500); }
#buttons, #pair { flex-wrap: nowrap; }
#buttons button { min-width: 0; }
#new-seed { align-self: flex-start; width: auto; min-width: 0; padding: 0;
  margin: -.5rem 0 0 .75rem; border: 0; background: none; box-shadow: none;
  color: var(--link-text-color); font-weight: 400; font-size: .9rem;
  text-decoration: underline; }
#command textarea { font-family: var(--font-mono); font-size: .8rem;
  line-height: 1.6; }
@media (max-width: 640px) {
  .gradio-container { padding-top: .75rem !important; }
}
"""
