// What the page says, in English and in Chinese. The English sentence is the key.
// tests/server/test_page_text.py holds that every sentence is here and none is left over.

const ZH = {
  // counts
  "{n} clip": "{n} 个片段", "{n} clips": "{n} 个片段", "{n} video": "{n} 个视频", "{n} videos": "{n} 个视频",
  "{n} moment": "{n} 个瞬间", "{n} moments": "{n} 个瞬间", "{n} guess": "{n} 个猜测", "{n} guesses": "{n} 个猜测",
  "{n} file": "{n} 个文件", "{n} files": "{n} 个文件",
  "video": "个视频", "videos": "个视频", "clip": "个片段", "clips": "个片段",
  // index.html
  "Skip to the results": "跳到结果", "finecut, start page": "finecut 首页", "What to look for": "要找什么",
  "Describe a moment": "描述一个瞬间", "Search by an image (or drop or paste one)": "用图片搜索（也可拖入或粘贴）",
  "Search by an image": "用图片搜索", "Filters": "筛选", "Path": "路径", "holiday or */2024/*": "假期 或 */2024/*",
  "Longer than": "长于", "Shorter than": "短于", "s": "秒", "Recorded from": "拍摄于此后", "Recorded until": "拍摄于此前",
  "Resolution": "分辨率", "any": "不限", "480p or more": "480p 及以上", "720p or more": "720p 及以上",
  "1080p or more": "1080p 及以上", "4K or more": "4K 及以上", "Clear": "清除", "Apply": "应用", "Page": "页面",
  "Library": "视频库", "Light or dark": "浅色或深色", "Keys (?)": "快捷键 (?)", "Keys": "快捷键", "Searching": "正在搜索",
  "Drop an image to find moments like it": "拖入图片，查找相似的瞬间",
  "This page needs JavaScript. The API does not: see /openapi.json.": "此页面需要 JavaScript。API 不需要：见 /openapi.json。",
  // asking
  "or describe one": "或描述一个瞬间", "like this moment": "与此瞬间相似", "like this image": "与此图片相似", "like {name}": "与 {name} 相似",
  "Stop searching {what}": "停止搜索：{what}", "path {value}": "路径 {value}", "longer than {value} s": "长于 {value} 秒",
  "shorter than {value} s": "短于 {value} 秒", "from {value}": "{value} 起", "until {value}": "到 {value}", "{value}p or more": "{value}p 及以上",
  "Remove this filter": "移除此筛选", "Remove the filter: {what}": "移除筛选：{what}", "That is not an image.": "这不是图片。",
  "That image is larger than 20 MB.": "图片超过 20 MB。", "Similar": "相似",
  // answers
  "No results.": "没有结果。", "Nothing found": "没有找到", "No video passes the filters": "没有视频符合筛选", "Nothing was searched. Take a filter away and try again.": "没有搜索任何内容。请去掉一个筛选后重试。",
  "Clear the filters": "清除筛选", "{found} in {videos}, from {clips} in {ms} ms": "{videos}中的{found}，搜索了{clips}，用时 {ms} 毫秒",
  "No answer": "没有回应", "That cannot be searched for": "无法搜索此内容", "The search failed": "搜索失败", "Try again": "重试",
  "Nothing is indexed yet": "还没有索引", "Point finecut at a folder of videos. This page finds them as soon as they are indexed.": "让 finecut 索引一个视频文件夹。索引完成后，本页即可搜索。",
  "Look again": "再看一次", "Strong": "很可能", "Fair": "可能", "Weak": "不太可能", "How likely this is what you asked for": "符合您所求的可能性",
  "Show more": "显示更多", "No good match": "没有好的匹配", "your image": "您的图片", "this moment": "此瞬间", "“{query}”": "“{query}”",
  "Nothing in this library clearly shows {what}. These are the closest guesses.": "视频库中没有明确显示{what}的内容。以下是最接近的猜测。",
  "Understood as": "理解为", "Seen": "看到", "Said": "说到", "On screen": "屏幕上", "Told about it": "说明中", "In its name": "名称中",
  "leave out": "排除", "said or shown, word for word": "逐字说到或显示", "in this order": "按此顺序", "both in one moment": "同时出现", "only in a folder": "仅在某文件夹",
  "That was all of this video.": "此视频已全部显示。", "{n} more from this video": "此视频还有 {n} 个", "More from this video": "此视频的更多瞬间",
  "More like this": "更多相似", "Play {name} from {start} to {end}. {word} match, {percent}.": "播放 {name}，{start} 到 {end}。匹配：{word}，{percent}。",
  "Command copied": "命令已复制", "Copy": "复制", "Open {name}": "打开 {name}", "In this library": "视频库中", "no picture": "无图片",
  // player
  "less": "低", "more like what was asked": "更符合所求", "Why it matched": "匹配原因", "Loop moment": "循环此瞬间", "Save clip (s)": "保存片段 (s)",
  "Cutting the clip. It goes to your downloads.": "正在剪切，片段将保存到下载目录。", "Save clip": "保存片段", "Moments in this video": "此视频中的瞬间",
  "Previous result": "上一个结果", "Next result": "下一个结果", "Close": "关闭", "Copy link": "复制链接", "Link copied": "链接已复制",
  "moment {start} – {end}": "瞬间 {start} – {end}", "length {length}": "时长 {length}", "No regions are stored for this frame": "此画面没有存储区域信息",
  "Show where in the best frame the match is (h)": "显示最佳画面中匹配的位置 （h）", "That was the last result.": "这是最后一个结果。", "This is the first result.": "这是第一个结果。",
  "This browser cannot play {codec} in this file. Its frames are shown instead: move along the time line.": "此浏览器无法播放此文件的 {codec}。改为显示画面：请沿时间轴移动。",
  "This frame cannot be shown.": "无法显示此画面。", "Frame of {name}": "{name} 的画面",
  "The best frame of {name}, with the regions that match brought out": "{name} 的最佳画面，突出显示匹配区域",
  "{now} of {length}": "{now} / {length}", "{now} of {length}, matches {percent} percent": "{now} / {length}，匹配度 {percent}%",
  "Time line, with how well each frame matches": "时间轴，显示每个画面的匹配度",
  // facts
  "Length": "时长", "Picture": "画面", "Coding": "编码", "{codec} in {container}": "{container} 中的 {codec}", "Size": "大小", "Date": "日期",
  "Damage": "损坏", "{n} frames could not be decoded": "{n} 帧无法解码", "Scores": "分数", "recall {score}": "召回 {score}", ", re-rank {score}": "，重排 {score}",
  "{n} s": "{n} 秒", "{n} min": "{n} 分", "{h} h {min} min": "{h} 时 {min} 分", "unknown codec": "未知编码",
  // library
  "Look for new videos": "查找新视频", "Find by name": "按名称查找", "Find a video by name": "按名称查找视频", "Videos": "视频", "unreadable only": "仅无法读取的",
  "of material": "素材", "unreadable": "无法读取", "Searched with {bundle} ({method}). Folders: {folders}. Index: {path}.": "搜索模型：{bundle}（{method}）。文件夹：{folders}。索引：{path}。",
  "none yet": "尚无", "The library is up to date.": "视频库已是最新。", "Indexing": "正在索引", ", about {time} left": "，约剩 {time}", "{rate}× real time": "{rate} 倍实时",
  "Stop": "停止", "{done} of {files}": "{done} / {files}", "Every file could be read.": "所有文件均可读取。", "No video has that name.": "没有该名称的视频。", "file is missing": "文件缺失",
  "Stopping after the video in hand": "完成当前视频后停止", "Up to date": "已是最新", "Stopped; what was done is kept": "已停止；已完成的会保留", "Indexing failed": "索引失败",
  "{n} new": "新增 {n}", "{n} changed": "更改 {n}", "{n} moved": "移动 {n}", "{n} removed": "移除 {n}", "{n} unchanged": "未变 {n}", "{n} unreadable": "无法读取 {n}", "There was nothing to do.": "无需处理。",
  // login
  "Token": "令牌", "This library asks for a token. Whoever started the server has it.": "此视频库需要令牌。启动服务器的人有令牌。", "Open": "打开",
  "The server answered {status}.": "服务器回应 {status}。", "The server does not answer. Is `finecut serve` still running?": "服务器没有回应。`finecut serve` 还在运行吗?",
  // keys
  "Playing": "播放", "to the search box": "到搜索框", "from result to result": "在结果间移动", "play": "播放", "filters": "筛选", "this list": "此列表", "close": "关闭",
  "play or pause": "播放或暂停", "two seconds back or on": "后退或前进两秒", "frame by frame": "逐帧", "next or previous result": "下一个或上一个结果",
  "why it matched": "匹配原因", "loop the moment": "循环此瞬间", "more like this": "更多相似", "copy a link": "复制链接", "save the clip": "保存片段",
};

const KEPT = "finecut-language";
const preferred = navigator.languages.find((code) => /^(zh|en)\b/.test(code)) ?? "en";

/** "en" or "zh": what was chosen here before, else what the browser prefers. */
export const language = localStorage.getItem(KEPT) ?? preferred.slice(0, 2);

/** A sentence in the page's language; {names} are put in. */
export function t(english, values = {}) {
  const said = language === "zh" ? (ZH[english] ?? english) : english;
  return said.replace(/\{(\w+)\}/g, (all, name) => String(values[name] ?? all));
}

/** 1204 -> "1,204". */
export const number = (n) => n.toLocaleString(language === "zh" ? "zh-CN" : "en");

/** Say what index.html says in the page's language, and let the button change it. */
export function translatePage() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const text = node.data.trim();
    if (text) node.data = node.data.replace(text, t(text));
  }
  for (const name of ["title", "placeholder", "aria-label"]) {
    for (const node of document.querySelectorAll(`body [${name}]`)) node.setAttribute(name, t(node.getAttribute(name)));
  }
  const change = document.getElementById("language");
  change.lang = language === "zh" ? "en" : "zh-Hans";
  [change.textContent, change.title] = language === "zh" ? ["EN", "In English"] : ["中", "中文界面"];
  change.addEventListener("click", () => {
    localStorage.setItem(KEPT, language === "zh" ? "en" : "zh");
    location.reload();
  });
}
