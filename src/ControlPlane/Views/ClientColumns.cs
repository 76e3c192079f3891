using System.Runtime.InteropServices;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.ControlPlane.Views;

/// <summary>
/// What the committed rounds say of each client, as far as pictures of all clients and rounds need it: some 26 bytes for a client in a
/// round, so that nobody reads manifests again for them.
/// </summary>
internal sealed class ClientColumns
{
    private const string Letters = "ntflrqs"; // by ClientOutcome
    private const byte OutcomeBits = 7, ScorableBit = 8, AsideBit = 16;

    private readonly IReadOnlyList<ClientSpec> _clients; // in client-id order, as in manifests
    private readonly Dictionary<string, int> _places;
    private readonly List<string> _metrics = [""]; // by number; 0 is none
    private readonly List<Column> _rounds = [];

    public ClientColumns(FederationPlan plan)
    {
        _clients = [.. plan.Clients.OrderBy(static client => client.Id, StringComparer.Ordinal)];
        _places = _clients.Select(static (client, place) => (client.Id, place))
            .ToDictionary(static one => one.Id, static one => one.place, StringComparer.Ordinal);
    }

    private ClientColumns(ClientColumns other)
    {
        (_clients, _places) = (other._clients, other._places);
        _metrics.AddRange(other._metrics.Skip(1));
        _rounds.AddRange(other._rounds);
    }

    /// <summary>What is known now, for a reader that takes its time.</summary>
    public ClientColumns Copy() => new(this);

    /// <summary>Takes a committed round: the one after the last.</summary>
    public void Add(RoundView round)
    {
        var column = new Column(round.Round, new byte[_clients.Count], new byte[_clients.Count],
            Empty(round.Clients.Any(static row => row.MeanLoss is not null)),
            Empty(round.Clients.Any(static row => row.Score is not null)),
            Empty(round.Clients.Any(static row => row.ClientSeconds is not null)));
        foreach (var row in round.Clients)
        {
            if (!_places.TryGetValue(row.Client, out var place)) continue;
            column.Standings[place] = (byte)((byte)row.Outcome
                | (row.Metric is null && row.ScoreReason is null ? 0 : ScorableBit) | (row.StaysAside ? AsideBit : 0));
            column.Metrics[place] = NumberOf(row.Metric);
            if (row.MeanLoss is { } loss) column.Losses![place] = loss;
            if (row.Score is { } score) column.Scores![place] = score;
            if (row.ClientSeconds is { } seconds) column.Seconds![place] = seconds;
        }

        _rounds.Add(column);
    }

    /// <summary>The clients, in ordinal order.</summary>
    public IReadOnlyList<GridClient> Clients => [.. _clients.Select(static client => new GridClient(client.Id, client.Task, client.Site))];

    /// <summary>Seconds of the client at a place of <see cref="Clients"/>, of the rounds in which they are known.</summary>
    public IEnumerable<(int Round, double Seconds)> SecondsOf(int place)
    {
        foreach (var round in _rounds)
            if (round.Seconds?[place] is { } seconds && double.IsFinite(seconds)) yield return (round.Round, seconds);
    }

    /// <summary>A value of each client in the rounds after one.</summary>
    public GridView Grid(string run, GridValue value, int after)
    {
        List<Column> rounds = [.. _rounds.Where(round => round.Round > after)];
        var values = new float[rounds.Count * _clients.Count];
        values.AsSpan().Fill(float.NaN);
        for (var at = 0; at < rounds.Count; at++)
        {
            var target = values.AsSpan(at * _clients.Count, _clients.Count);
            var source = value switch
            {
                GridValue.Loss => rounds[at].Losses, GridValue.Score => rounds[at].Scores, _ => rounds[at].Seconds,
            };
            for (var place = 0; place < (source?.Length ?? 0); place++) target[place] = (float)source![place];
        }

        var metrics = value != GridValue.Score ? []
            : rounds.SelectMany(static round => round.Metrics).Where(static number => number > 0).Distinct().Take(2).ToList();
        var bytes = MemoryMarshal.AsBytes(values.AsSpan()).ToArray();
        if (!BitConverter.IsLittleEndian) Reverse(bytes);
        return new()
        {
            Run = run,
            Value = value,
            Metric = metrics is [var metric] ? _metrics[metric] : null,
            Clients = Clients,
            Rounds = [.. rounds.Select(static round => round.Round)],
            Values = bytes,
            Outcomes = [.. rounds.Select(static round => string.Create(round.Standings.Length, round.Standings, static (text, standings) =>
            {
                for (var place = 0; place < text.Length; place++) text[place] = Letters[standings[place] & OutcomeBits];
            }))],
        };
    }

    /// <summary>A task in the rounds after one; null where the plan has no such task.</summary>
    public TaskHistory? Task(string task, int after)
    {
        int[] places = [.. Enumerable.Range(0, _clients.Count).Where(place => _clients[place].Task == task)];
        return places.Length == 0 ? null
            : new(task, places.Length, [.. _rounds.Where(round => round.Round > after).Select(round => TaskIn(round, places))]);
    }

    // As TaskAggregate has it of the rows.
    private TaskInRound TaskIn(Column round, int[] places)
    {
        var comparesSome = places.Any(place => (round.Standings[place] & AsideBit) == 0 && round.Metrics[place] > 0);
        int[] compared = comparesSome ? [.. places.Where(place => (round.Standings[place] & AsideBit) == 0)] : places;
        var metrics = compared.Select(place => round.Metrics[place]).Where(static number => number > 0).Distinct().Take(2).ToList();
        var metric = metrics is [var number] ? _metrics[number] : null;
        var outcomes = places.Select(place => (ClientOutcome)(round.Standings[place] & OutcomeBits)).ToList();
        return new(
            round.Round, round.Round > 0 ? outcomes.Count(static outcome => outcome == ClientOutcome.Trained) : 0, metric,
            Spread.Of(
                places.Select(place => round.Losses?[place]), round.Round > 0 ? outcomes.Count(RoundView.IsAsked) : 0, highIsBad: true),
            metric is null ? null : Spread.Of(
                compared.Select(place => round.Scores?[place]),
                places.Count(place => (round.Standings[place] & ScorableBit) > 0), RoundAggregate.IsPerplexity(metric)));
    }

    private double[]? Empty(bool isMeasured)
    {
        if (!isMeasured) return null;
        var column = new double[_clients.Count];
        column.AsSpan().Fill(double.NaN);
        return column;
    }

    private byte NumberOf(string? metric)
    {
        if (metric is null) return 0;
        var number = _metrics.IndexOf(metric, 1);
        if (number > 0) return (byte)number;
        _metrics.Add(metric);
        return checked((byte)(_metrics.Count - 1));
    }

    private static void Reverse(byte[] bytes)
    {
        for (var at = 0; at < bytes.Length; at += sizeof(float)) Array.Reverse(bytes, at, sizeof(float));
    }

    // Columns of a number that nobody has are not there.
    private sealed record Column(int Round, byte[] Standings, byte[] Metrics, double[]? Losses, double[]? Scores, double[]? Seconds);
}
