using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Views;

/// <summary>How a run stands beside its local-only reference.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Run">The run.</param>
/// <param name="Reference">The reference, a run of that name; null where there is none, or none yet.</param>
/// <param name="Versus">The last scores beside the reference's, row by row, by client; without those whose sites could not compare.</param>
/// <param name="Missing">What is missing and why, in a line each.</param>
/// <param name="WasLeftOut">Whether who began the run left the reference out, so that there will be none.</param>
public sealed record LocalOnlyView(
    int Schema, string Run, string? Reference, IReadOnlyDictionary<string, ScoreComparison> Versus, IReadOnlyList<string> Missing,
    bool WasLeftOut = false);
