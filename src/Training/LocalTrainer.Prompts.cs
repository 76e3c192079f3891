using System.Runtime.CompilerServices;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Training.Adapters;
using FedRLora.Training.Lanes;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>
/// Prompts to a client's own adapter as rounds left it, whatever the method: heads, routers and tensors of the task are those that
/// evaluation scores.
/// </summary>
public sealed partial class LocalTrainer
{
    /// <inheritdoc/>
    /// <remarks>Tokens go through the model between two steps of what trains; in between nothing is held but memory.</remarks>
    public async IAsyncEnumerable<string> PromptAsync(
        TrainingGroup group, Prompt prompt, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (group.Members is not [var member])
            throw new ArgumentException($"{group.Members.Count} members; one answers a prompt.", nameof(group));
        var sampling = SamplingOf(prompt);
        var (model, layout) = await PrepareAsync(group, cancellationToken);
        var ids = await Task.Run(() => Continuation.PromptOf(model, prompt.Text, prompt.IsChat), cancellationToken);
        var most = (int)Math.Min(ids.Length + (long)prompt.MaxNewTokens, model.Model.Config.MaxPositions);
        var bytes = WorkMemory.OfPrompt(model.Model, layout, ids.Length, most);
        using var memory = await _lanes.PromptMemory.HoldAsync(bytes, cancellationToken);
        var threads = LaneDemand.ThreadsOf(group.Plan.Training.Threads);
        using var answer = new Answer(
            () => PlacedAdapter.Create(AdapterFactory.Of(group, layout, member), _lanes.Device), model, ids, sampling);
        while (!answer.IsWhole)
        {
            // Waits for a piece that runs before anything of it is freed, also where the caller has gone.
            var piece = await _lanes.RunBetweenAsync(threads, answer.GoOn, cancellationToken);
            if (piece.Length > 0) yield return piece;
        }
    }

    /// <exception cref="BadInputException">A value is out of range.</exception>
    private static SamplingOptions SamplingOf(Prompt prompt)
    {
        Require(prompt.MaxNewTokens >= 1, $"maxNewTokens is {prompt.MaxNewTokens}, expected at least 1");
        Require(prompt.Temperature >= 0 && double.IsFinite(prompt.Temperature),
            FormattableString.Invariant($"temperature is {prompt.Temperature}, expected a finite number of at least 0"));
        Require(prompt.TopP is > 0 and <= 1, FormattableString.Invariant($"topP is {prompt.TopP}, expected more than 0 and at most 1"));
        Require(!prompt.StopTexts.Contains(""), "a stop text is empty, expected at least one character");
        return new()
        {
            MaxNewTokens = prompt.MaxNewTokens, Temperature = prompt.Temperature, TopP = prompt.TopP, Seed = prompt.Seed,
            StopTexts = prompt.StopTexts,
        };

        static void Require(bool isRight, string wrong)
        {
            if (!isRight) throw new BadInputException($"prompt: {wrong}");
        }
    }

    /// <summary>An answer on its way. Its pieces may run on different threads, one after the other.</summary>
    private sealed class Answer(Func<PlacedAdapter> place, FrozenBase model, int[] promptIds, SamplingOptions sampling) : IDisposable
    {
        private PlacedAdapter? _adapter;
        private AdapterPass? _pass;
        private IEnumerator<string>? _texts;

        /// <summary>Nothing comes any more.</summary>
        public bool IsWhole { get; private set; }

        /// <summary>What the tokens of a turn add; at least one is made.</summary>
        public string GoOn(LaneTurn turn, CancellationToken stopped)
        {
            _texts ??= Begin();
            var added = "";
            do
            {
                stopped.ThrowIfCancellationRequested();
                if (!_texts.MoveNext())
                {
                    IsWhole = true;
                    break;
                }

                added += _texts.Current;
            }
            while (!turn.IsOver);

            return added;
        }

        public void Dispose()
        {
            _texts?.Dispose();
            _pass?.Dispose();
            _adapter?.Free();
        }

        private IEnumerator<string> Begin()
        {
            _adapter = place();
            _adapter.Keep();
            _pass = AdapterPass.Evaluating(_adapter, model.Model);
            return Continuation.Texts(model, _pass, promptIds, sampling, CancellationToken.None).GetEnumerator();
        }
    }
}
