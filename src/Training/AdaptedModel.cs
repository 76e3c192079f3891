using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Data;
using FedRLora.Training.Lanes;
using FedRLora.Training.Metrics;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>
/// A model, with an adapter folder where one is given, in one person's hands:
/// scored and continued by the code that a federation runs.
/// </summary>
public sealed class AdaptedModel : IDisposable
{
    private readonly DeviceLanes _lanes;
    private readonly FrozenBase _base;
    private readonly PeftAdapter? _adapter;

    private static LaneDemand AllCores => new("", LaneDemand.ThreadsOf(0), Bytes: 0);

    private AdaptedModel(DeviceLanes lanes, FrozenBase model, PeftAdapter? adapter, IReadOnlyList<string> notes) =>
        (_lanes, _base, _adapter, Notes) = (lanes, model, adapter, [.. adapter?.Notes ?? [], .. notes]);

    /// <summary>What is to be known of the adapter and its base, a line each.</summary>
    public IReadOnlyList<string> Notes { get; }

    /// <summary>Loads a model and reads an adapter.</summary>
    /// <param name="model">A Hugging Face folder or a GGUF file.</param>
    /// <param name="adapter">A folder in PEFT's layout; null for the base alone.</param>
    /// <param name="options">How the model is taken; null for as it is stored, and no other than the adapter's own.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="BadInputException">A folder is not usable, or the two do not belong together.</exception>
    public static async Task<AdaptedModel> LoadAsync(
        string model, string? adapter, BaseOptions? options = null, CancellationToken cancellationToken = default)
    {
        var read = adapter is null ? null : PeftAdapter.Read(adapter);
        var lanes = new DeviceLanes(CPU, lanes: 1); // one at a time, on all cores
        try
        {
            var ((loaded, notes), _) = await lanes.RunAsync(AllCores, _ => Load(model, read, options ?? new()), cancellationToken);
            return new AdaptedModel(lanes, loaded, read, notes);
        }
        catch
        {
            lanes.Dispose();
            throw;
        }
    }

    /// <summary>Scores the rows of a JSON Lines file; labels are those that the file has.</summary>
    /// <param name="data">The file.</param>
    /// <param name="evaluation">Metric, rows and length of a continuation.</param>
    /// <param name="maxTokens">As <see cref="TrainingSpec.MaxTokens"/>.</param>
    /// <param name="forecast">Gets how long it will take, where that is long; null for nobody.</param>
    /// <param name="cancellationToken">Looked at between batches.</param>
    /// <exception cref="BadInputException">A line is not valid, or the metric does not suit the rows.</exception>
    public async Task<EvaluationResult> ScoreAsync(
        string data, EvaluationSpec evaluation, int maxTokens, ForecastSink? forecast = null,
        CancellationToken cancellationToken = default)
    {
        var encoder = _base.Encoder(maxTokens);
        var rows = await Task.Run(
            async () => await ClientData.TestAsync(
                data, evaluation.MaxRows, client: null, await TaskRows.OfFileAsync(data, cancellationToken), encoder, cancellationToken),
            cancellationToken);
        var (result, _) = await _lanes.RunAsync(
            AllCores,
            stopped => WithAdapter(adapters =>
            {
                var line = new Forecast(forecast, time => $"scoring {rows.Rows.Count} rows takes about {Forecast.Shown(time)}");
                var scored = new ScoredRows(_base, adapters, encoder, rows, evaluation) { Progress = line.Reached };
                return Scoring.Of(scored, data, stopped);
            }),
            cancellationToken);
        return result;
    }

    /// <summary>Answers a message through the model's chat template.</summary>
    /// <param name="message">What the user says.</param>
    /// <param name="sampling">As in <see cref="ContinueAsync"/>.</param>
    /// <param name="write">As in <see cref="ContinueAsync"/>.</param>
    /// <param name="cancellationToken">Looked at before each token.</param>
    /// <exception cref="BadInputException">The folder has no template, or the message leaves no room.</exception>
    public Task AnswerAsync(
        string message, SamplingOptions sampling, Action<string> write, CancellationToken cancellationToken = default) =>
        GoOnAsync(Continuation.PromptOf(_base, message, isChat: true), sampling, write, cancellationToken);

    /// <summary>Continues a prompt, up to an end token of the model or a stop text.</summary>
    /// <param name="prompt">The text to go on from; the tokenizer's special tokens are added before it, as in training.</param>
    /// <param name="sampling">How tokens are chosen and what else ends the text.</param>
    /// <param name="write">Gets the text piece by piece, on another thread; the pieces together are the continuation.</param>
    /// <param name="cancellationToken">Looked at before each token.</param>
    /// <exception cref="BadInputException">The prompt is empty or leaves no room.</exception>
    public Task ContinueAsync(
        string prompt, SamplingOptions sampling, Action<string> write, CancellationToken cancellationToken = default) =>
        GoOnAsync(Continuation.PromptOf(_base, prompt, isChat: false), sampling, write, cancellationToken);

    /// <summary>Ends the work in flight and frees the model.</summary>
    public void Dispose()
    {
        if (!_lanes.Close()) return;
        _base.Dispose();
        _lanes.Dispose();
    }

    private async Task GoOnAsync(
        int[] promptIds, SamplingOptions sampling, Action<string> write, CancellationToken cancellationToken) =>
        await _lanes.RunAsync(AllCores, stopped => WithAdapter(adapters =>
        {
            foreach (var piece in Continuation.Texts(_base, adapters, promptIds, sampling, stopped))
                if (piece.Length > 0) write(piece);
            return true;
        }), cancellationToken);

    private T WithAdapter<T>(Func<ILayerAdapters?, T> work)
    {
        using var scope = NewDisposeScope();
        if (_adapter is null) return work(null);
        var layout = _adapter.On(_base.Model.AdaptableLayers);
        using var pass = AdapterPass.Evaluating(
            PlacedAdapter.Create(new(layout, _adapter.Tensors, Start: null), _lanes.Device), _base.Model);
        return work(pass);
    }

    private static (FrozenBase Base, IReadOnlyList<string> Notes) Load(string path, PeftAdapter? adapter, BaseOptions options)
    {
        var model = FrozenBase.Load(path, CPU, options.Storage);
        try
        {
            _ = adapter?.On(model.Model.AdaptableLayers);
            adapter?.CheckBase(model.Model);
            return (model, adapter is null ? [] : AdapterBase.Check(adapter, path, options, () => model.Model));
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }
}
