"""The 119 systems in order: number, slug, name, year, arXiv id where known, room, title, and what it does in one line.

The room is where the parts of a system live (see the design page); a system of several rooms names all of them.
"""

from __future__ import annotations

from difflib import get_close_matches

from guerdon.errors import ConfigError
from guerdon.papers.frame import Paper


def _row(
    number: int, slug: str, name: str, year: int | None, arxiv: str, room: str, title: str, mechanism: str
) -> Paper:
    url = f"https://arxiv.org/abs/{arxiv}" if arxiv else None
    return Paper(number, slug, name, title, room, (mechanism,), year, url)


# fmt: off
_ROWS = [
    _row(1, "gram-r2", "GRAM-R²", 2025, "2509.02492", "reward/judge",
         "GRAM-R^2: Self-Training Generative Foundation Reward Models for Reward Reasoning",
         "a judge that writes rationale then label, bootstrapped on unlabelled pairs by having a prover "
         "explain predicted labels"),
    _row(2, "gram", "GRAM", 2025, "2506.14175", "reward/judge",
         "GRAM: A Generative Foundation Reward Model for Reward Generalization",
         "a pairwise judge with its preference in one label token, pre-trained by generating responses, tuned "
         "with label smoothing"),
    _row(3, "synthesizeme", "SynthesizeMe", 2025, "2506.05598", "reward/personal",
         "SynthesizeMe! Inducing Persona-Guided Prompts for Personalized Reward Models in LLMs",
         "finds reasonings that predict a person's held-out choices, condenses them into a persona and "
         "demonstrations for a judge"),
    _row(4, "pad", "PAD", 2024, "2410.04070", "steer",
         "PAD: Personalized Alignment at Decoding-Time",
         "a token-level reward conditioned on a written preference, added to the base model's next-token "
         "scores while decoding"),
    _row(5, "miro", "MIRO", 2025, "2510.25897", "tune/diffusion",
         "MIRO: MultI-Reward cOnditioned pretraining improves T2I quality and efficiency",
         "trains a flow model conditioned on the vector of several rewards, then asks for high rewards when sampling"),
    _row(6, "adjoint-matching", "Adjoint Matching", 2024, "2409.08861", "tune/diffusion",
         "Adjoint Matching: Fine-tuning Flow and Diffusion Generative Models with Memoryless Stochastic "
         "Optimal Control",
         "regresses a flow's control on a lean adjoint under the memoryless noise schedule, to sample base "
         "times exp(reward)"),
    _row(7, "fspo", "FSPO", 2025, "2502.19312", "tune/language",
         "FSPO: Few-Shot Preference Optimization of Synthetic Preference Data in LLMs Elicits Effective "
         "Personalization to Real Users",
         "puts a person's labelled comparisons in the prompt and runs preference optimisation on their next "
         "one, over many people"),
    _row(8, "mm-r1", "MM-R1", 2025, "2508.11433", "tune/language",
         "MM-R1: Unleashing the Power of Unified Multimodal Large Language Models for Personalized Image Generation",
         "a unified multimodal model reasons about the reference subject, then draws; aligned by "
         "group-relative policy gradient"),
    _row(9, "ppd", "PPD", 2025, "2501.06655", "tune/diffusion + reward/personal",
         "Personalized Preference Fine-tuning of Diffusion Models",
         "embeds a person from a few pairs, feeds the embedding to new cross-attention layers, trains by the "
         "diffusion DPO loss"),
    _row(10, "rlpa", "RLPA", 2025, "2505.15456", "tune/language",
         "Teaching Language Models to Evolve with Users: Dynamic Profile Modeling for Personalized Alignment",
         "writes a profile of the user each turn; rewarded for its match with the simulated user's true "
         "profile and for the reply"),
    _row(11, "carmo", "CARMO", 2024, "2410.21545", "reward/judge",
         "CARMO: Dynamic Criteria Generation for Context-Aware Reward Modelling",
         "writes criteria that fit this query before scoring the responses by them; criteria and verdicts can "
         "be distilled"),
    _row(12, "onerec", "OneRec", 2025, "2502.18965", "tune/recommend",
         "OneRec: Unifying Retrieve and Rank with Generative Recommender and Iterative Preference Alignment",
         "writes a whole session of semantic-id items; a session reward picks best and worst of its own beams "
         "for DPO rounds"),
    _row(13, "viper", "ViPer", 2024, "2407.17365", "steer",
         "ViPer: Visual Personalization of Generative Models via Individual Preference Learning",
         "turns comments on a few images into liked and disliked attributes that steer a frozen text-to-image "
         "model's guidance"),
    _row(14, "density-estimation-lhf", "Density-estimation LHF", 2023, "2311.14115", "reward/learned",
         "A density estimation perspective on learning from pairwise human preferences",
         "reads pairwise preference learning as estimating the annotator's density under an assumed "
         "preference behaviour"),
    _row(15, "r0", "R0", 2025, "2503.13070", "tune/diffusion",
         "Rewards Are Enough for Fast Photo-Realistic Text-to-image Generation",
         "makes a few-step image generator by regularised maximisation of several rewards, without images or "
         "distillation"),
    _row(16, "micro", "MiCRo", 2025, "2505.24846", "reward/personal",
         "MiCRo: Mixture Modeling and Context-aware Routing for Personalized Preference Learning",
         "learns K reward heads and a prompt router from anonymous pairs, then re-weights heads for a person "
         "or context by Hedge"),
    _row(17, "raft", "RAFT", 2023, "2304.06767", "tune/language + tune/diffusion",
         "RAFT: Reward rAnked FineTuning for Generative Foundation Model Alignment",
         "samples many, keeps the best by reward, fine-tunes on them with the supervised loss, repeats"),
    _row(18, "one-token-to-fool", "One Token to Fool", 2025, "2507.08794", "bench",
         "One Token to Fool LLM-as-a-Judge",
         "measures judges' false positives on contentless master keys and removes them with "
         "truncated-response negatives"),
    _row(19, "self-consuming-curated", "Self-consuming curated", 2024, "2407.09499", "curate",
         "Self-Consuming Generative Models with Curated Data Provably Optimize Human Preferences",
         "retrains a generator on people's picks of K of its samples: expected reward rises, and drifts "
         "unless real data is mixed in"),
    _row(20, "lore", "LoRe", 2025, "2504.14439", "reward/personal",
         "LoRe: Personalizing LLMs via Low-Rank Reward Modeling",
         "people's rewards are simplex weights over shared basis rewards; a new person is fitted by the weights alone"),
    _row(21, "pal", "PAL", 2024, "2406.08469", "reward/personal",
         "PAL: Pluralistic Alignment Framework for Learning from Heterogeneous Preferences",
         "a person is a mixture of prototype ideal points (or prompt-dependent ideal directions) in a learned "
         "preference space"),
    _row(22, "reward-agent", "Reward Agent", 2025, "2502.19328", "reward/compose",
         "Agentic Reward Modeling: Integrating Human Preferences with Verifiable Correctness Signals for "
         "Reliable Reward Systems",
         "a router decides which checks a prompt needs, agents run them, a judger joins their results with a "
         "preference reward"),
    _row(23, "reward-features", "Reward Features", 2025, "2503.17338", "reward/personal",
         "Capturing Individual Human Preferences with Reward Features",
         "learns reward features with one weight vector per rater; a new rater is a convex logistic "
         "regression on a few comparisons"),
    _row(24, "rpo-lambda-harmonic", "RPO (λ-Harmonic)", 2024, "2407.12164", "tune/diffusion + reward/compose",
         "Subject-driven Text-to-Image Generation via Preference-based Reinforcement Learning",
         "a weighted harmonic mean of subject fidelity and text alignment draws preference labels and picks "
         "the checkpoint"),
    _row(25, "rere", "ReRe", 2025, "2510.12211", "tune/recommend + tune/language",
         "Reinforced Preference Optimization for Recommendation",
         "group-relative policy gradient over distinct items from constrained beam search, with a rank-aware "
         "penalty on misses"),
    _row(26, "oni", "ONI", 2024, "2410.23022", "tune/control",
         "Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback",
         "a language model labels captions as the agent meets them; labels become a count-discounted intrinsic reward"),
    _row(27, "instructbooth", "InstructBooth", 2023, "2312.03011", "tune/diffusion",
         "InstructBooth: Instruction-following Personalized Text-to-Image Generation",
         "personalises on a subject, then repairs text alignment by policy gradient on the denoising steps"),
    _row(28, "zyn", "ZYN", 2023, "2308.06385", "reward/judge",
         "ZYN: Zero-Shot Reward Models with Yes-No Questions",
         "asks a language model a yes/no question about a text; the normalised probability of yes is the reward"),
    _row(29, "draft", "DRaFT", 2023, "2309.17400", "tune/diffusion",
         "Directly Fine-Tuning Diffusion Models on Differentiable Rewards",
         "back-propagates a reward through the sampling chain (all of it, its last K steps, or re-noised last "
         "steps) into LoRA"),
    _row(30, "psr", "PSR", 2025, "2512.01236", "reward/media + tune/diffusion",
         "PSR: Scaling Multi-Subject Personalized Image Generation with Pairwise Subject-Consistency Rewards",
         "crops each subject out of the output, pairs it with its own reference and averages the similarities "
         "as a reward"),
    _row(31, "dragon", "DRAGON", 2025, "2504.15217", "tune/diffusion",
         "DRAGON: Distributional Rewards Optimize Diffusion Generative Models",
         "optimises rewards of sets (distance to exemplars, diversity) by contrasting positive and negative "
         "on-policy sets"),
    _row(32, "gemrec", "GEMRec", 2023, "2308.02205", "tune/recommend",
         "GEMRec: Towards Generative Model Recommendation",
         "recommends which generative model to use: retrieves prompt-model pairs, generates, ranks the "
         "results for the person"),
    _row(33, "mrmbench", "MRMBench", 2025, "2511.12464", "bench",
         "Probing Preference Representations: A Multi-Dimensional Evaluation and Analysis Method for Reward Models",
         "fits one linear probe per preference dimension on a frozen reward model's representation"),
    _row(34, "rewardanything", "RewardAnything", 2025, "2506.03637", "reward/judge",
         "RewardAnything: Generalizable Principle-Following Reward Models",
         "a principle in plain language is an input; one call ranks all candidates under it; trained by a "
         "listwise rule reward"),
    _row(35, "personalllm", "PersonalLLM", 2024, "2409.20296", "bench",
         "PersonalLLM: Tailoring LLMs to Individual Preferences",
         "simulates people as Dirichlet mixtures of standardised reward models; measures gains from borrowing "
         "from others"),
    _row(36, "unimp", "UniMP", 2024, "2403.10667", "tune/recommend",
         "Towards Unified Multi-Modal Personalization: Large Vision-Language Models for Generative "
         "Recommendation and Beyond",
         "writes a person's history as interleaved images, attributes and ids; one decoder recommends, "
         "explains and generates"),
    _row(37, "reprompt", "RePrompt", 2025, "2505.17540", "tune/language",
         "RePrompt: Reasoning-Augmented Reprompting for Text-to-Image Generation via Reinforcement Learning",
         "a small language model thinks and rewrites the prompt, rewarded by a frozen generator's images on "
         "the original prompt"),
    _row(38, "prospect", "ProSpect", 2023, "2305.16225", "steer",
         "ProSpect: Prompt Spectrum for Attribute-Aware Personalization of Diffusion Models",
         "gives each stage of denoising its own text condition, inverts an image into per-stage tokens, and "
         "swaps some"),
    _row(39, "ccsr-self-reward", "CCSR", 2024, "2405.13473", "curate + tune/diffusion + reward/judge",
         "Class-Conditional self-reward mechanism for improved Text-to-Image models",
         "draws images for self-written prompts of chosen classes, picks the best by detector and checklist, "
         "fine-tunes on them"),
    _row(40, "path-recourse", "Path Recourse", 2023, "2312.08724", "tune/control",
         "Personalized Path Recourse",
         "edits a path to reach a better outcome while staying near the original and probable under the "
         "agent's own policy"),
    _row(41, "inpo", "InPO", 2025, "2503.18454", "tune/diffusion",
         "InPO: Inversion Preference Optimization with Reparametrized DDIM for Efficient Diffusion Model Alignment",
         "diffusion DPO whose noisy latent comes from a short inversion of the image instead of random noise"),
    _row(42, "flr", "FLR", 2024, "2409.13948", "reward/implicit",
         "Aligning Language Models Using Follow-up Likelihood as Reward Signal",
         "scores a response by how much likelier it makes satisfied follow-ups than dissatisfied ones"),
    _row(43, "beyond-the-binary", "Beyond the Binary", 2024, "2412.03822", "reward/learned",
         "Beyond the Binary: Capturing Diverse Preferences With Reward Regularization",
         "the agreement of several synthetic judges on a pair becomes a margin, so reward differences track "
         "preference rates"),
    _row(44, "personalized-image-generation-survey", "Personalised image survey", 2025, "2502.13081", "survey",
         "Personalized Image Generation with Deep Generative Models: A Decade Survey",
         "one frame for personalised image generation: where a concept is stored x how it is found x how it is used"),
    _row(45, "dts", "DTS", 2025, "2506.20701", "steer",
         "Diffusion Tree Sampling: Scalable inference-time alignment of diffusion models",
         "keeps denoising trajectories in a tree of soft values backed up from terminal rewards; samples the "
         "tilted density"),
    _row(46, "adaptive-inference-compute", "Adaptive inference compute", 2024, "2410.02725", "steer",
         "Adaptive Inference-Time Compute: LLMs Can Predict if They Can Do Better, Even Mid-Generation",
         "the model says in one token whether a restart would be better, to stop, prune and pick samples by itself"),
    _row(47, "ft-lm-human-preferences", "FT LM from preferences", 2019, "1909.08593", "tune/language",
         "Fine-Tuning Language Models from Human Preferences",
         "reward from best-of-4 choices, normalised on the reference policy, then PPO with an adaptive KL weight"),
    _row(48, "search-gen-v", "Search-Gen-V", 2025, "2510.14660", "reward/verify",
         "An Efficient Rubric-based Generative Verifier for Search-Augmented LLMs",
         "splits the right answer into atomic facts, labels each as supported or not in a text; the weighted "
         "mean is the reward"),
    _row(49, "auto-rubric", "Auto-Rubric", 2025, "2510.17314", "reward/judge",
         "Auto-Rubric: Learning to Extract Generalizable Criteria for Reward Modeling",
         "proposes criteria that explain labelled pairs, keeps those that reproduce the labels, picks a core "
         "by coding rate"),
    _row(50, "rl-generative-ai-survey", "RL for generative AI survey", 2023, "2308.14328", "survey",
         "Reinforcement Learning for Generative AI: A Survey",
         "a map of where rewards come from, what machinery uses them, and what the trajectory is"),
    _row(51, "imagereward", "ImageReward", 2023, "2304.05977", "reward/media",
         "ImageReward: Learning and Evaluating Human Preferences for Text-to-Image Generation",
         "Bradley-Terry on fused image-text features from expert rankings; tunes diffusion by a one-jump "
         "reward gradient"),
    _row(52, "gpm", "GPM", 2024, "2410.02197", "reward/learned",
         "General Preference Modeling with Preference Representations for Aligning Language Models",
         "a skew-symmetric form of response embeddings expresses cyclic preferences at one encoding a response"),
    _row(53, "writing-zero", "Writing-Zero", 2025, "2506.00103", "tune/language",
         "Writing-Zero: Bridge the Gap Between Non-verifiable Problems and Verifiable Rewards",
         "a self-principled pairwise judge; group policy gradient against a random rollout of the group as reference"),
    _row(54, "rm-r1", "RM-R1", 2025, "2505.02387", "reward/judge",
         "RM-R1: Reward Modeling as Reasoning",
         "a judge that solves the task or writes a weighted rubric first, then chooses; distilled, then tuned "
         "on correctness"),
    _row(55, "preference-agents", "Preference agents", 2024, "2410.03731", "steer",
         "Unsupervised Human Preference Learning",
         "a small model writes rules from a person's own texts that turn a big model's answer into that person's"),
    _row(56, "basereward", "BaseReward", 2025, "2509.16127", "reward/media",
         "BaseReward: A Strong Baseline for Multimodal Reward Model",
         "a vision-language backbone, last-token state and a two-layer head, trained on multimodal and "
         "text-only preferences"),
    _row(57, "temporal-self-rewarding", "Temporal self-rewarding", 2025, "2508.06026", "tune/language",
         "Temporal Self-Rewarding Language Models: Decoupling Chosen-Rejected via Past-Future",
         "rejected samples from the initial model, chosen ones from a one-step-ahead model, so that the "
         "contrast survives"),
    _row(58, "genarm", "GenARM", 2024, "2410.08193", "steer",
         "GenARM: Reward Guided Generation with Autoregressive Reward Model for Test-time Alignment",
         "the reward is the log-likelihood of a small model trained on pairs; decodes from base times that to "
         "the alpha"),
    _row(59, "r3-relevance", "R3 (relevance)", 2024, "2402.03469", "reward/compose",
         "Preference-free Alignment Learning with Regularized Relevance Reward",
         "relevance of reply to query times a length incentive and a repetition penalty: a reward without "
         "preference data"),
    _row(60, "omni-reward", "Omni-Reward", 2025, "2510.23451", "reward/media",
         "Omni-Reward: Towards Generalist Omni-Modal Reward Modeling with Free-Form Preferences",
         "one reward for text, image, video, audio and 3D with its criterion given as a sentence; ties by a "
         "tuned threshold"),
    _row(61, "drm", "DRM", 2025, "2502.13131", "reward/personal",
         "Rethinking Diverse Human Preference Learning through Principal Component Analysis",
         "principal components of embedding differences, with both signs, as reward heads weighted by how "
         "they fit a few pairs"),
    _row(62, "genies", "GENIES", 2023, "2311.07723", "bench",
         "Generalization Analogies: A Testbed for Generalizing AI Oversight to Hard-To-Measure Domains",
         "trains a reward on a source distribution, tests on a shifted one, normalised by zero-shot and by "
         "tuned-on-target"),
    _row(63, "rewordbench", "reWordBench", 2025, "2503.11751", "bench + reward/learned",
         "reWordBench: Benchmarking and Improving the Robustness of Reward Models with Transformed Inputs",
         "rewrites benchmark inputs in meaning-preserving ways, measures the fall, trains paraphrases to "
         "score the same"),
    _row(64, "toolrl", "ToolRL", 2025, "2504.13958", "reward/verify",
         "ToolRL: Reward is All Tool Learning Needs",
         "a rule reward for tool calls: format, and a graded match of tool names, parameter names and values"),
    _row(65, "persona-judge", "Persona-judge", 2025, "2504.12663", "steer",
         "Persona-judge: Personalized Alignment of Large Language Models via Token-level Self-judgment",
         "one model under two preference prompts drafts and accepts or resamples tokens in turn"),
    _row(66, "cream", "CREAM", 2024, "2410.12735", "tune/language",
         "CREAM: Consistency Regularized Self-Rewarding Language Models",
         "ranks own samples by the implicit reward of the current and previous model; softens labels where "
         "they disagree"),
    _row(67, "grm", "GRM", 2024, "2406.10216", "reward/learned",
         "Regularizing Hidden States Enables Learning Generalizable Reward Model for LLMs",
         "keeps the language-model head and adds a text-generation loss on the states the reward head reads"),
    _row(68, "context-aware-pm", "Context-aware PM", 2024, "2407.14916", "reward/learned",
         "Improving Context-Aware Preference Modeling for Language Models",
         "one reward given a context, trained on pairs that different contexts reverse; contexts resolve ambiguity"),
    _row(69, "psi-sampler", "Ψ-Sampler", 2025, "2506.01320", "steer",
         "Ψ-Sampler: Initial Particle Sampling for SMC-Based Inference-Time Reward Alignment in Score Models",
         "starts reward-guided SMC from the posterior of the initial noise, drawn by a dimension-robust Markov chain"),
    _row(70, "rag-reward", "RAG-Reward", 2025, "2501.13264", "reward/learned",
         "RAG-Reward: Optimizing RAG with Reward Modeling and RLHF",
         "pairs from a judge of four criteria for retrieval-augmented answers train a Bradley-Terry reward"),
    _row(71, "vpl", "VPL", 2024, "2408.10075", "reward/personal",
         "Personalizing Reinforcement Learning from Human Feedback with Variational Preference Learning",
         "an encoder reads a person's few comparisons into a latent; the reward decoder explains their other choices"),
    _row(72, "writingpreferencebench", "WritingPreferenceBench", 2025, "2510.14616", "bench",
         "Beyond Correctness: Evaluating Subjective Writing Preferences Across Cultures",
         "1,800 human pairs of creative writing in two languages where grammar, facts and length do not decide"),
    _row(73, "drift", "Drift", 2025, "2502.14289", "reward/personal + steer",
         "Drift: Decoding-time Personalized Alignments with Implicit User Preferences",
         "taste as a weighted sum of attributes, each the log-probability shift of a system prompt; weights "
         "in closed form"),
    _row(74, "rmb", "RMB", 2024, "2410.09893", "bench",
         "RMB: Comprehensively Benchmarking Reward Models in LLM Alignment",
         "49 real scenarios with pairs and with best-of-n lists whose best answer must beat every loser"),
    _row(75, "themis-tool-rm", "Themis", 2023, "2310.01045", "reward/judge + reward/learned",
         "Tool-Augmented Reward Modeling",
         "a reward model that calls tools, writes a rationale, then a scalar; trained on the trace and on pairs"),
    _row(76, "ipo-implicit", "IPO (implicit)", 2025, "2502.16182", "reward/judge",
         "IPO: Your Language Model is Secretly a Preference Classifier",
         "scores own samples by the model's own P(yes, a good response) and runs DPO on the best and the worst"),
    _row(77, "prompt-a-video", "Prompt-A-Video", 2024, "2412.15156", "tune/language",
         "Prompt-A-Video: Prompt Your Video Diffusion Model via Preference-Aligned LLM",
         "evolves prompts by their scores, tunes a smaller model on the winners, then by DPO on ranked candidates"),
    _row(78, "rad", "RAD", 2023, "2310.09520", "steer",
         "Reward-Augmented Decoding: Efficient Controlled Text Generation With a Unidirectional Reward Model",
         "a small causal reward scores every prefix and shifts the logits of the top-k next tokens, reusing its cache"),
    _row(79, "constrained-rlhf", "Constrained RLHF", 2023, "2310.04373", "reward/compose + tune/language",
         "Confronting Reward Model Overoptimization with Constrained RLHF",
         "holds proxy rewards at the points up to which they help, by learned Lagrange multipliers"),
    _row(80, "irl-meets-llm", "IRL meets LLM", 2025, "2507.13158", "survey",
         "Inverse Reinforcement Learning Meets Large Language Model Post-Training: Basics, Advances, and Opportunities",
         "alignment as inverse reinforcement learning: a reward from behaviour, used knowing that it is a proxy"),
    _row(81, "promptenhancer", "PromptEnhancer", 2025, "2509.04545", "tune/language",
         "PromptEnhancer: A Simple Approach to Enhance Text-to-Image Models via Chain-of-Thought Prompt Rewriting",
         "a chain-of-thought prompt rewriter tuned against an evaluator of 24 kinds of image-prompt agreement"),
    _row(82, "west-of-n", "West-of-N", 2024, "2401.12086", "curate",
         "West-of-N: Synthetic Preference Generation for Improved Reward Modeling",
         "labels the best and worst of N samples by the current reward as new pairs and trains again"),
    _row(83, "drum", "DrUM", 2025, "2508.03481", "steer",
         "Draw Your Mind: Personalized Generation via Condition-Level Modeling in Text-to-Image Diffusion Models",
         "an adapter rebuilds the text condition from target and reference prompts with a controllable share "
         "of attention"),
    _row(84, "rewarded-soups", "Rewarded soups", 2023, "2306.04488", "reward/compose + tune",
         "Rewarded soups: towards Pareto-optimal alignment by interpolating weights fine-tuned on diverse rewards",
         "one fine-tuned model a reward, their weights averaged with coefficients chosen after training"),
    _row(85, "rpo", "RPO", 2024, "2405.16436", "tune/language",
         "Provably Mitigating Overoptimization in RLHF: Your SFT Loss is Implicitly an Adversarial Regularizer",
         "DPO plus a small SFT term on chosen responses, the answer to the most pessimistic reward that "
         "explains the data"),
    _row(86, "crm-collaborative", "CRM", 2025, "2505.10597", "reward/learned",
         "Two Minds Better Than One: Collaborative Reward Modeling for LLM Alignment",
         "two reward models trained at once, each choosing by margin the pairs the other learns from"),
    _row(87, "vl-rewardbench", "VL-RewardBench", 2024, "2411.17451", "bench",
         "VLRewardBench: A Challenging Benchmark for Vision-Language Generative Reward Models",
         "1,250 hard image-question pairs that test vision-language judges, with voting over shuffled judgements"),
    _row(88, "t-reg", "T-REG", 2024, "2412.02685", "tune/language",
         "T-REG: Preference Optimization with Token-Level Reward Regularization",
         "token rewards from the log-ratio of a better and a worse instruction, added to DPO as a weighted term"),
    _row(89, "t2i-compbench", "T2I-CompBench", 2023, "2307.06350", "bench",
         "T2I-CompBench: A Comprehensive Benchmark for Open-world Compositional Text-to-image Generation",
         "metrics of attribute binding and relations in images; reward-weighted tuning of a generator on its own best"),
    _row(90, "baton", "BATON", 2024, "2402.00744", "reward/media",
         "BATON: Aligning Text-to-Audio Model with Human Preference Feedback",
         "good/bad labels of audio clips train a text-audio reward; reward-weighted denoising plus a "
         "pre-training loss"),
    _row(91, "rlcm", "RLCM", 2024, "2404.03673", "tune/diffusion",
         "RL for Consistency Models: Faster Reward Guided Text-to-Image Generation",
         "the few-step consistency sampler as a short decision process, tuned by clipped policy gradient on "
         "any reward"),
    _row(92, "gen-drive", "Gen-Drive", 2024, "2410.05582", "steer + tune/diffusion",
         "Gen-Drive: Enhancing Diffusion Generative Driving Policies with Reward Modeling and Reinforcement "
         "Learning Fine-tuning",
         "a diffusion model proposes joint futures, a scene reward from pairs picks the plan and tunes the denoiser"),
    _row(93, "cdr", "CDR", 2024, "2411.02481", "reward/implicit",
         "CDR: Customizable Density Ratios of Strong-over-weak LLMs for Preference Annotation",
         "the log-density ratio of a better over a less aligned model is a reward without training"),
    _row(94, "think-rm", "Think-RM", 2025, "2505.16265", "reward/judge",
         "Think-RM: Enabling Long-Horizon Reasoning in Generative Reward Models",
         "a pairwise judge tuned to think at length; its verdicts enter policy gradient through an advantage "
         "on differences"),
    _row(95, "onereward", "OneReward", 2025, "2508.21066", "reward/judge",
         "OneReward: Unified Mask-Guided Image Generation via Multi-Task Human Preference Learning",
         "one vision-language judge, asked which of two images is better in a dimension for a task; P(yes) is "
         "the reward"),
    _row(96, "toolrm", "ToolRM", 2025, "2509.11963", "reward/learned + bench",
         "ToolRM: Outcome Reward Models for Tool-Calling Large Language Models",
         "a Bradley-Terry outcome reward for tool calls from gold calls against models' wrong ones, and a benchmark"),
    _row(97, "hybrid-preferences", "Hybrid preferences", 2024, "2410.19133", "curate",
         "Hybrid Preferences: Learning to Route Instances for Human vs. AI Feedback",
         "learns how counts of human-labelled instances by property change reward quality; routes new ones to people"),
    _row(98, "oc-gfn", "OC-GFN", 2023, "2310.03419", "tune/control",
         "Pre-Training and Fine-Tuning Generative Flow Networks",
         "a goal-conditioned flow network pre-trained without reward; a new reward mixes its flows over outcomes"),
    _row(99, "learning-from-rewards-survey", "Learning from rewards survey", 2025, "2505.02686", "survey",
         "Sailing AI by the Stars: A Survey of Learning from Rewards in Post-Training and Test-Time Scaling "
         "of Large Language Models",
         "a map: language model, reward model and learning strategy, in training, at inference and after it"),
    _row(100, "pairwise-rl", "Pairwise-RL", 2025, "2504.04950", "reward/judge",
         "A Unified Pairwise Framework for RLHF: Bridging Generative Reward Modeling and Policy Optimization",
         "a generative comparator trained with swapped orders; the win probability against an anchor is the reward"),
    _row(101, "itercomp", "IterComp", 2024, "2410.07171", "reward/media + tune/diffusion",
         "IterComp: Iterative Composition-Aware Feedback Learning from Model Gallery for Text-to-Image Generation",
         "ranks a gallery of generators by aspect, trains a reward an aspect, tunes by reward gradients, repeats"),
    _row(102, "textnorm", "TextNorm", 2024, "2404.01863", "reward/compose",
         "Confidence-aware Reward Optimization for Fine-tuning Text-to-Image Models",
         "replaces a reward by its softmax share among contrastive prompts, over an ensemble"),
    _row(103, "rewardbench", "RewardBench", 2024, "2403.13787", "bench",
         "RewardBench: Evaluating Reward Models for Language Modeling",
         "2,985 trios in 23 subsets and four sections with fixed weights; classifiers, implicit rewards and "
         "judges alike"),
    _row(104, "skywork-reward-v2", "Skywork-Reward-V2", 2025, "2507.01352", "curate",
         "Skywork-Reward-V2: Scaling Preference Data Curation via Human-AI Synergy",
         "a verified core steers annotators to what the reward gets wrong; consistency filters and relabels the rest"),
    _row(105, "secrets-of-rlhf-2", "Secrets of RLHF II", 2024, "2401.06080", "reward/learned + curate",
         "Secrets of RLHF in Large Language Models Part II: Reward Modeling",
         "votes of independent reward models measure each pair's strength: flip, soften, margin; "
         "meta-learning under shift"),
    _row(106, "deepseek-grm-spct", "DeepSeek-GRM (SPCT)", 2025, "2504.02495", "reward/judge",
         "Inference-Time Scaling for Generalist Reward Modeling",
         "a judge writes its own principles and critique and scores any number of responses; k samples are summed"),
    _row(107, "progress-counts", "ProgressCounts", 2024, "2410.09187", "tune/control",
         "Automated Rewards via LLM-Generated Progress Functions",
         "a language model writes a progress function; novelty of its discretised values is the reward"),
    _row(108, "fre", "FRE", 2024, "2402.17135", "tune/control",
         "Unsupervised Zero-Shot Reinforcement Learning via Functional Reward Encodings",
         "encodes a handful of (state, reward) samples of any reward into a latent that a policy is conditioned on"),
    _row(109, "embedding-rm", "Reusing embeddings", 2025, "2502.04357", "reward/learned",
         "Reusing Embeddings: Reproducible Reward Model Research in Large Language Model Alignment without GPUs",
         "embeddings stored once with gold rewards; reward-model research on cached arrays in seconds on a CPU"),
    _row(110, "pagellm", "PageLLM", 2025, "2506.09084", "tune/recommend",
         "Enhanced Whole Page Optimization via Mixed-Grained Reward Mechanism-Adapted Language Models",
         "a coarse page reward and a fine item reward from implicit feedback tune a model that writes the page"),
    _row(111, "ldc-research-ideas", "LDC", 2024, "2412.14626", "tune/language",
         "Learning to Generate Research Idea with Dynamic Control",
         "three rewards, one steering matrix each, and a decoder that sets their strengths sentence by sentence"),
    _row(112, "uncertainty-aware-rlhf", "Uncertainty-aware RLHF", 2024, "2410.23726", "reward/compose",
         "Towards Reliable Alignment: Uncertainty-aware RLHF",
         "an ensemble's variance keeps the policy near its reference where the reward is uncertain"),
    _row(113, "sarm", "SARM", 2025, "2508.08746", "reward/learned",
         "Interpretable Reward Model via Sparse Autoencoder",
         "a sparse autoencoder between a truncated model and a linear head: rewards as sums of named features"),
    _row(114, "large-scale-rl", "Large-scale RL", 2024, "2401.12244", "tune/diffusion + reward/compose",
         "Large-scale Reinforcement Learning for Diffusion Models",
         "policy gradient for diffusion at scale: batch-normalised rewards, many tasks at once, a pre-training loss"),
    _row(115, "rewarddance", "RewardDance", 2025, "2509.08826", "reward/judge",
         "RewardDance: Reward Scaling in Visual Generation",
         "P(yes) of a vision-language model that image 1 beats a reference; scales with model size and context"),
    _row(116, "r3", "R3", 2025, "2505.13388", "reward/judge",
         "R3: Robust Rubric-Agnostic Reward Models",
         "one schema of task, input, responses and rubric to reasoning and score, distilled from a small filtered set"),
    _row(117, "resume-grpo", "Resume GRPO", 2025, "", "reward/verify",
         "A Mathematical Framework for Custom Reward Functions in Job Application Evaluation using "
         "Reinforcement Learning",
         "a small judge of applications tuned first by examples, then gently by a weighted multi-part reward"),
    _row(118, "dmoerm", "DMoERM", 2024, "2403.01197", "reward/learned",
         "DMoERM: Recipes of Mixture-of-Experts for Effective Reward Modeling",
         "routes a prompt to a task's reward, within it experts a capability, joined by a small head fitted to people"),
    _row(119, "ui-genie", "UI-Genie", 2025, "2505.21496", "tune/control",
         "UI-Genie: A Self-Improving Approach for Iteratively Boosting MLLM-based Mobile GUI Agents",
         "one reward for actions and trajectories guides exploration whose outcomes retrain both agent and reward"),
]
# fmt: on

PAPERS: dict[str, Paper] = {row.slug: row for row in _ROWS}


def paper(slug: str) -> Paper:
    """The paper called ``slug``; an unknown one is an error that names the nearest slugs."""
    if slug in PAPERS:
        return PAPERS[slug]
    near = get_close_matches(slug.lower(), PAPERS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "guerdon papers lists them"
    raise ConfigError(f"no paper {slug!r}; {hint}")
